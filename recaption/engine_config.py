"""How rows stream through a worker: reading ahead, decode processes, retries, and when a worker counts as stuck."""

import os
from dataclasses import dataclass

from runtime.errors import UserError

MAX_DEFAULT_DECODE_PROCESSES = 8
"""One captioner of eight billion parameters on one GPU takes about 60 pictures a second; a core decodes that many."""


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """Everything about a worker that shapes its speed and its patience, and never its captions."""

    decode_processes: int | None = None
    """Processes of each worker that decode and preprocess ahead. 0: a thread of the worker. Default: 0 beside a
    captioner on the CPU, which keeps the cores busy itself; else the worker's share of the cores, at most 8."""
    rows_ahead: int = 256
    """Rows read, decoded and kept ready ahead of the captioner: a few batches, so that it never waits."""
    units_in_flight: int = 2
    """Units read ahead at a time. A captioner that has room for more rows than these hold is given more."""
    row_attempts: int = 3
    """Times that a row is asked about, or that a worker dies over it, before the row is given up on. The last time it
    is asked alone, so that it takes no other row with it. A unit that so many workers hang over while they read it is
    set aside until the job is started again."""
    decode_seconds_max: float = 120.0
    """Time limit for decoding one picture in a decode process; the largest allowed takes about ten seconds."""
    write_retries: int = 6
    """Repetitions of a write, or of a read, that failed in passing (a network file system), at growing distances:
    about a minute in all."""
    supervised: bool = True
    """Caption in processes that are watched and replaced when they die or hang. False: in this process, one worker,
    nobody watching; starts faster, for small inputs and debuggers."""
    opening_seconds_max: float = 3600.0
    """A worker that opens its captioner for longer is stuck: gigabytes of weights may come over a network."""
    reading_seconds_max: float = 600.0
    """A worker that reads one row, or opens one unit, for longer is stuck: a retried download is faster."""
    captioning_seconds_max: float = 1800.0
    """A captioner that neither takes nor answers anything for longer is stuck: a large batch on a CPU takes minutes."""
    writing_seconds_max: float = 600.0
    """A worker that writes one sidecar for longer, repetitions included, is stuck."""
    deaths_max: int = 10
    """Workers that die one after the other, with no unit finished and no row given up on in between, before the job
    stops: the fault is then not in a row."""

    def __post_init__(self) -> None:
        if self.decode_processes is not None and self.decode_processes < 0:
            raise UserError("out of range", where="decode_processes", found=self.decode_processes, wanted=">= 0")
        for name, least in (("rows_ahead", 1), ("units_in_flight", 1), ("row_attempts", 2), ("deaths_max", 1)):
            if getattr(self, name) < least:
                raise UserError("out of range", where=name, found=getattr(self, name), wanted=f">= {least}")
        if self.write_retries < 0:
            raise UserError("out of range", where="write_retries", found=self.write_retries, wanted=">= 0")
        for stage in ("decode", "opening", "reading", "captioning", "writing"):
            name = f"{stage}_seconds_max"
            if getattr(self, name) <= 0:
                raise UserError("out of range", where=name, found=getattr(self, name), wanted="> 0")

    def num_decode_processes(self, *, on_cpu: bool, num_workers: int) -> int:
        """Return how many processes a worker decodes with."""
        if self.decode_processes is not None:
            return self.decode_processes
        if on_cpu:
            return 0
        # One core per worker is the captioner's own.
        share = len(os.sched_getaffinity(0)) // num_workers - 1
        return max(1, min(MAX_DEFAULT_DECODE_PROCESSES, share))

    @property
    def limits(self) -> dict[str, float]:
        """Return the seconds after which a worker counts as stuck, by what it is at."""
        return {
            "opening": self.opening_seconds_max,
            "reading": self.reading_seconds_max,
            "decoding": self.decode_seconds_max * self.row_attempts,
            "captioning": self.captioning_seconds_max,
            "writing": self.writing_seconds_max,
        }
