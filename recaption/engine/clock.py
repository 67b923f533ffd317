"""Seconds by stage, added up by all threads of a worker."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


class StageClock:
    """Add up the seconds that each stage took since they were last taken."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seconds: dict[str, float] = {}
        self._since = time.monotonic()

    def add(self, stage: str, seconds: float) -> None:
        """Add seconds to a stage."""
        with self._lock:
            self._seconds[stage] = self._seconds.get(stage, 0.0) + seconds

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Add the time that the block takes to a stage, also when it raises."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.add(stage, time.monotonic() - began)

    def take(self) -> tuple[Mapping[str, float], float]:
        """Return the seconds by stage and the seconds that passed since the last call, and start again."""
        with self._lock:
            now = time.monotonic()
            taken, wall = self._seconds, now - self._since
            self._seconds, self._since = {}, now
        return taken, wall
