"""What a worker is doing, in memory that its supervisor shares: read while it works, and after it died.

The memory is an unlinked file mapped into both processes: a store costs a fraction of a microsecond, and what a killed
worker wrote last stays readable.
"""

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import SpawnContext

import numpy as np

from runtime.shared_arrays import shared_array

PULSES = ("opening", "reading", "decoding", "captioning", "writing")
"""What a worker can be stuck at. Decoding counts where it happens in the worker itself."""
IN_FLIGHT_MAX = 8192
"""Rows in flight that are recorded; more than any captioner holds."""


class BlackBox:
    """Since when a worker is at what, and the rows that it would be at fault for if it died now."""

    def __init__(self, context: SpawnContext | None = None):
        context = context or multiprocessing.get_context("spawn")
        self._since = shared_array(context, "d", len(PULSES))
        self._rows = shared_array(context, "q", 2 * IN_FLIGHT_MAX)
        self._read_last = shared_array(context, "q", 1)
        self._free = list(range(IN_FLIGHT_MAX))

    def enter(self, pulse: str) -> None:
        """Record that something was begun, or moved."""
        self._since[PULSES.index(pulse)] = time.monotonic()

    def enter_unit(self, serial: int) -> None:
        """Record that the unit handed out as number `serial` is begun to be read."""
        self._read_last[0] = serial + 1
        self.enter("reading")

    @property
    def unit_being_read(self) -> int | None:
        """Return the serial of the unit that is being read; None while nothing is."""
        return self._read_last[0] - 1 if self.seconds_at("reading") else None

    def leave(self, pulse: str) -> None:
        """Record that nothing is under way."""
        self._since[PULSES.index(pulse)] = 0.0

    @contextmanager
    def at(self, pulse: str) -> Iterator[None]:
        """Record that something is under way while the block runs."""
        self.enter(pulse)
        try:
            yield
        finally:
            self.leave(pulse)

    def seconds_at(self, pulse: str) -> float:
        """Return for how long something has not moved; 0 where nothing is under way."""
        since = self._since[PULSES.index(pulse)]
        return time.monotonic() - since if since else 0.0

    def depart(self, serial: int, index: int) -> int | None:
        """Record row `index` of the unit handed out as number `serial` as in flight; return the slot to free again.

        None where all slots are taken: the row goes unrecorded.
        """
        try:
            slot = self._free.pop()
        except IndexError:
            return None
        self._rows[2 * slot + 1] = index
        # Written last, and never 0: a half-written slot reads as free.
        self._rows[2 * slot] = serial + 1
        return slot

    def land(self, slot: int | None) -> None:
        """Record that a row is no longer in flight."""
        if slot is not None:
            self._rows[2 * slot] = 0
            self._free.append(slot)

    def in_flight(self) -> list[tuple[int, int]]:
        """Return the rows in flight as pairs of a unit's serial and the row's index in it."""
        pairs = np.frombuffer(self._rows, dtype=np.int64).reshape(-1, 2)
        return [(int(serial) - 1, int(index)) for serial, index in pairs[pairs[:, 0] > 0]]
