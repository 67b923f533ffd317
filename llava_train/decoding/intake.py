"""A stream read ahead by a thread of its own, so that who reads it never has to wait while there is other work."""

import queue
import threading
from collections.abc import Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")

_END = object()
PATIENCE_SECONDS = 0.5
"""How long a patient taker waits for the next item once it has one."""
_POLL_SECONDS = 0.1
"""How often a reader that found no room looks whether it is still wanted."""


class Intake(Generic[Item]):
    """Items of a stream as they come; what the stream raises is raised where the item would have been taken."""

    def __init__(self, items: Iterator[Item], capacity: int):
        self._queue: queue.Queue[object] = queue.Queue(maxsize=capacity)
        self._closed = threading.Event()
        self.waiting: list[Item] = []
        """Items that were looked at and not taken yet."""
        self._error: BaseException | None = None
        self.ended = False
        """Nothing comes after what is waiting."""
        # A daemon: a stream that never goes on must not keep the process from ending.
        threading.Thread(target=self._read, args=(items,), name="intake", daemon=True).start()

    def __len__(self) -> int:
        """Return how many items are waiting to be taken, as far as was looked."""
        return len(self.waiting)

    def look(self, wanted: int, *, patiently: bool) -> None:
        """Let up to `wanted` items wait here.

        With patience, wait for the first unless the stream has ended, and a moment for each of the others: who makes
        them may be waiting for an answer to those that are here.
        """
        while len(self.waiting) < wanted and not self.ended:
            try:
                item = self._queue.get(block=patiently, timeout=PATIENCE_SECONDS if self.waiting else None)
            except queue.Empty:
                return
            if item is _END:
                self.ended = True
                if self._error is not None:
                    raise self._error
            else:
                self.waiting.append(item)  # type: ignore[arg-type]

    def take(self) -> Item:
        """Remove the first waiting item and return it."""
        return self.waiting.pop(0)

    def close(self) -> None:
        """Stop reading; the stream is left where it is."""
        self._closed.set()

    def _read(self, items: Iterator[Item]) -> None:
        try:
            for item in items:
                if not self._put(item):
                    return
        except BaseException as error:  # noqa: BLE001 - raised again where the items are taken
            self._error = error
        self._put(_END)

    def _put(self, item: object) -> bool:
        while not self._closed.is_set():
            try:
                self._queue.put(item, timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            return True
        return False
