"""How long the two kinds of passes take, by the clock of the device that runs them."""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

Pass = Literal["prefill", "decode"]


class PassTimes:
    """Add up the seconds of prefills and decoding steps since they were last taken.

    A GPU is behind its host: its passes are marked in its own queue, and counted once it has come past the marks.
    """

    def __init__(self, device: torch.device):
        self._on_gpu = device.type == "cuda"
        self._seconds: dict[str, float] = {}
        self._marks: deque[tuple[str, torch.cuda.Event, torch.cuda.Event]] = deque()

    @contextmanager
    def time(self, kind: Pass) -> Iterator[None]:
        """Count what the block computes, or queues, as passes of a kind; a block that raises is not counted."""
        if self._on_gpu:
            began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            began.record()
            yield
            ended.record()
            self._marks.append((kind, began, ended))
            self._collect()
        else:
            start = time.monotonic()
            yield
            self._add(kind, time.monotonic() - start)

    def take(self) -> dict[str, float]:
        """Return the seconds by kind since the last call."""
        self._collect()
        taken, self._seconds = self._seconds, {}
        return taken

    def _collect(self) -> None:
        while self._marks and self._marks[0][2].query():
            kind, began, ended = self._marks.popleft()
            self._add(kind, began.elapsed_time(ended) / 1000)

    def _add(self, kind: str, seconds: float) -> None:
        self._seconds[kind] = self._seconds.get(kind, 0.0) + seconds
