"""What the runner says while it works: one plain line an event, with what is left."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from openrecap.jobs import Job
from openrecap.processes import last_words


def _print(line: str) -> None:
    print(line, flush=True)


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


class Console:
    """Writes one line an event; counts done jobs for the `[7/31]` in front."""

    def __init__(self, write: Callable[[str], None] = _print) -> None:
        self._write = write
        self._num_jobs = 0
        self._num_done = 0
        self._began = time.monotonic()

    def begin(self, num_jobs: int) -> None:
        """Say how many jobs there are."""
        self._num_jobs = num_jobs
        self._began = time.monotonic()

    def skipped(self, job: Job) -> None:
        """Say that a job was finished before."""
        self._num_done += 1
        self._say(f"{job.name}: done before")

    def started(self, job: Job) -> None:
        """Say that a job starts."""
        self._say(f"{job.name}: started")

    def finished(self, job: Job, seconds: float, *, left: float | None) -> None:
        """Say that a job finished, how long it took, and about how many seconds are left where that is known."""
        self._num_done += 1
        rest = "" if left is None or self._num_done == self._num_jobs else f", about {_duration(left)} left"
        self._say(f"{job.name}: done in {seconds:.0f} s{rest}")

    def failed(self, job: Job, code: int, log: Path) -> None:
        """Say that a job failed, with its last lines."""
        self._say(f"{job.name}: FAILED with exit code {code}; see {log}\n{last_words(log)}")

    def refused(self, job: Job) -> None:
        """Say that a job's folder was made from other inputs than today's."""
        self._say(
            f"{job.name}: {job.output} was made from other data or another config; "
            "keep it and choose another --runs folder, or let --redo_stale (make reproduce ARGS=--redo_stale) "
            "remove it and make it again"
        )

    def removed(self, job: Job) -> None:
        """Say that a stale folder was removed."""
        self._say(f"{job.name}: removed {job.output}, made from other data or another config")

    def end(self, *, done: int, failed: Mapping[str, Path], blocked: Sequence[str]) -> None:
        """Say how it ended."""
        minutes = (time.monotonic() - self._began) / 60
        self._say(f"{done} of {self._num_jobs} done in {minutes:.1f} minutes")
        for name, log in failed.items():
            self._say(f"failed: {name} ({log})")
        if blocked:
            self._say(f"not started, for want of what failed: {', '.join(blocked)}")

    def _say(self, text: str) -> None:
        clock = time.strftime("%H:%M:%S")
        self._write(f"{clock} [{self._num_done}/{self._num_jobs}] {text}")
