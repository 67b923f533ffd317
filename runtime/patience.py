"""Locks that a dying process may still hold."""

import time
from collections.abc import Callable

PATIENCE_SECONDS = 5.0
"""How long a killed process may take to give back its memory and, after that, its locks."""
_PAUSE_SECONDS = 0.1


def takes_lock(take: Callable[[], object]) -> bool:
    """Call `take` until it no longer finds the lock held (BlockingIOError, PermissionError), for a few seconds; tell
    whether it did.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            take()
        except (BlockingIOError, PermissionError):
            if time.monotonic() >= deadline:
                return False
            time.sleep(_PAUSE_SECONDS)
        else:
            return True
