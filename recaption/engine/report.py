"""What a worker says of a finished unit: rows by status, seconds by stage, and what held it up."""

from collections.abc import Mapping
from dataclasses import dataclass, field

STAGES = (
    "reading",
    "decoding",
    "preprocessing",
    "waiting",
    "prefill",
    "decode",
    "captioning",
    "scoring",
    "writing",
)
"""Where time goes. Stages overlap: reading is one thread's, decoding and preprocessing are summed over the decode
processes, writing is a thread's. The captioner's own time is `prefill` and `decode` where it tells them apart and
`captioning` where it does not; `waiting` is what it spent without a picture to work on."""

LOADING = ("reading", "decoding", "preprocessing")
CAPTIONING = ("prefill", "decode", "captioning")

WAITING_SHARE_MAX = 0.1
"""Share of its time that a captioner may spend waiting for pictures before loading counts as the bottleneck."""

ADVICE = {
    "reading": "read from faster storage, or start more workers",
    "decoding": "raise engine.decode_processes (now {decode_processes})",
    "preprocessing": "raise engine.decode_processes (now {decode_processes})",
    "prefill": "the model is the limit: add workers with a device of their own, or lower the precision",
    "decode": "raise batch_size, or add workers with a device of their own",
    "captioning": "raise batch_size, or add workers with a device of their own",
    "writing": "write to faster storage, or make units larger",
}
"""What to change when a stage holds the others up."""


@dataclass(frozen=True, kw_only=True)
class UnitReport:
    """One finished unit: its sidecar and mark are on disk."""

    name: str
    num_rows: int
    statuses: Mapping[str, int]
    """Rows by status."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Seconds by stage between the end of the worker's unit before this one and this unit's own end."""
    wall_seconds: float = 0.0
    """Seconds in which these stages ran."""
    decode_processes: int = 0
    """Processes that decoded side by side; 0 is a thread of the worker."""
    worker: int = 0
    """Index of the worker that captioned it."""

    @property
    def bottleneck(self) -> str | None:
        """Return the stage that held the others up; None where no time was taken."""
        return bottleneck(self.seconds, self.wall_seconds, self.decode_processes)

    def describe(self) -> str:
        """Return one line: shares of the time by stage, the bottleneck and what to change."""
        return describe(self.seconds, self.wall_seconds, self.decode_processes)


class StageTotals:
    """Seconds by stage over all units of a job so far; with several workers, an average of theirs."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._wall_seconds = 0.0
        self._decode_processes = 0

    def add(self, report: UnitReport) -> None:
        """Add a finished unit."""
        for stage, seconds in report.seconds.items():
            self._seconds[stage] = self._seconds.get(stage, 0.0) + seconds
        self._wall_seconds += report.wall_seconds
        self._decode_processes = max(self._decode_processes, report.decode_processes)

    def describe(self) -> str:
        """Return one line: shares of the time by stage, the bottleneck and what to change."""
        return describe(self._seconds, self._wall_seconds, self._decode_processes)


def bottleneck(seconds: Mapping[str, float], wall_seconds: float, decode_processes: int) -> str | None:
    """Return the stage that the others waited for, or None without any seconds.

    A captioner that waits for pictures is held up by whichever part of loading is busiest; one that does not is held up
    by its own larger part, unless writing filled the time.
    """
    busy = {stage: seconds.get(stage, 0.0) for stage in (*LOADING, *CAPTIONING, "writing")}
    if not any(busy.values()):
        return None
    for stage in ("decoding", "preprocessing"):
        busy[stage] /= max(1, decode_processes)
    captioning = sum(busy[stage] for stage in CAPTIONING)
    waiting = seconds.get("waiting", 0.0)
    if busy["writing"] > max(0.9 * wall_seconds, captioning):
        return "writing"
    if waiting > WAITING_SHARE_MAX * (waiting + captioning):
        # Decoding and preprocessing are one process's work on one picture: it is their sum that reading competes with.
        if busy["reading"] > busy["decoding"] + busy["preprocessing"]:
            return "reading"
        return max(("decoding", "preprocessing"), key=lambda stage: busy[stage])
    return max(CAPTIONING, key=lambda stage: busy[stage])


def describe(seconds: Mapping[str, float], wall_seconds: float, decode_processes: int) -> str:
    """Return one line: shares of the time by stage, the bottleneck and what to change."""
    named = bottleneck(seconds, wall_seconds, decode_processes)
    if named is None or wall_seconds <= 0:
        return "no time was taken"
    processes = max(1, decode_processes)
    parts = []
    for stage in STAGES:
        taken = seconds.get(stage, 0.0) / (processes if stage in ("decoding", "preprocessing") else 1)
        if taken > 0:
            parts.append(f"{stage} {100 * taken / wall_seconds:.0f} %")
    advice = ADVICE[named].format(decode_processes=decode_processes)
    return f"{', '.join(parts)} of the time; bottleneck: {named}: {advice}"
