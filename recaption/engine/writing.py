"""Write finished units beside the captioner, and again where a write fails in passing."""

import sys
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from recaption.engine.attempts import forget_deaths
from recaption.engine.black_box import BlackBox
from recaption.engine.clock import StageClock
from recaption.engine.open_units import OpenUnit
from recaption.engine.report import UnitReport
from recaption.engine.sidecar_rows import sidecar_rows
from recaption.engine.transient import patiently
from recaption.job.marks import finish_unit
from recaption.quality.drift import DriftMonitor
from recaption.quality.rates import measure_rows

WAITING_MAX = 2
"""Finished units that wait for their write; the captioner pauses when there are more."""


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What every row and mark of a worker says of where it came from."""

    caption_columns: tuple[str, ...]
    prompt_id: str
    captioner_id: str
    manifest_sha256: str
    decode_processes: int
    worker: int


class Writer:
    """A thread that writes sidecars and marks, one unit after the other."""

    def __init__(
        self,
        folder: Path,
        provenance: Provenance,
        *,
        monitor: DriftMonitor,
        num_retries: int,
        clock: StageClock,
        box: BlackBox,
    ):
        self._folder, self._provenance, self._num_retries = folder, provenance, num_retries
        self._monitor = monitor
        self._clock, self._box = clock, box
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="writing")
        self._writes: deque[Future[UnitReport]] = deque()

    def put(self, unit: OpenUnit, stage_seconds: tuple[Mapping[str, float], float], unit_seconds: float) -> None:
        """Queue a unit whose rows are settled.

        `stage_seconds` are the worker's seconds by stage since the unit before, and all that passed; `unit_seconds` the
        unit's own from its first row to its last, some of which it shared with its neighbours.
        """
        self._writes.append(self._thread.submit(self._write, unit, *stage_seconds, unit_seconds))

    def written(self, num_left_max: int = WAITING_MAX) -> Iterator[UnitReport]:
        """Yield reports of written units; wait while more than `num_left_max` are unwritten.

        Raises what stopped a write: an OSError that names the file, or a UserError where rows do not reconcile or
        captions have drifted.
        """
        while self._writes and (self._writes[0].done() or len(self._writes) > num_left_max):
            yield self._writes.popleft().result()

    def close(self) -> None:
        """Write what is queued, and end."""
        self._thread.shutdown()

    def _write(
        self, unit: OpenUnit, seconds: Mapping[str, float], wall_seconds: float, unit_seconds: float
    ) -> UnitReport:
        own = self._provenance
        identity = {"prompt_id": own.prompt_id, "captioner_id": own.captioner_id}
        rows = sidecar_rows(unit.rows, caption_columns=own.caption_columns, **identity)
        rates = measure_rows(rows)
        drift = self._monitor.check(unit.unit.name, rows, rates)
        self._box.enter("writing")
        try:
            with self._clock.time("writing"):
                patiently(
                    lambda: finish_unit(
                        self._folder,
                        unit.unit,
                        rows,
                        manifest_sha256=own.manifest_sha256,
                        wall_seconds=unit_seconds,
                        stage_seconds=seconds,
                        more_facts={"rates": asdict(rates), **({"drift": drift} if drift else {})},
                    ),
                    num_retries=self._num_retries,
                    on_retry=lambda error, pause: _tell(unit, error, pause),
                )
                if unit.deaths or any(row.deaths for row in unit.rows):
                    forget_deaths(self._folder, unit.unit.name)
        finally:
            self._box.leave("writing")
        return UnitReport(
            name=unit.unit.name,
            num_rows=len(rows),
            statuses=dict(sorted(Counter(row.status for row in unit.rows).items())),
            seconds=seconds,
            wall_seconds=wall_seconds,
            decode_processes=own.decode_processes,
            worker=own.worker,
        )


def _tell(unit: OpenUnit, error: OSError, pause: float) -> None:
    print(f"{unit.unit.name}: writing failed ({error}); again in {pause:g} s", file=sys.stderr, flush=True)
