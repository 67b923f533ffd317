"""Failures of reading and writing that pass by themselves, as network file systems have them: try again, later."""

import errno
import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")

TRANSIENT_ERRNOS = frozenset(
    {
        errno.EAGAIN, errno.EBUSY, errno.ECONNABORTED, errno.ECONNREFUSED, errno.ECONNRESET, errno.EHOSTDOWN,
        errno.EHOSTUNREACH, errno.EINTR, errno.EIO, errno.ENETDOWN, errno.ENETRESET, errno.ENETUNREACH,
        errno.EREMOTEIO, errno.ESTALE, errno.ETIMEDOUT,
    }
)  # fmt: skip
"""A full disk or a refused permission is not among them: it waits for a person."""
FIRST_PAUSE_SECONDS = 1.0
PAUSE_SECONDS_MAX = 30.0


def is_transient(error: OSError) -> bool:
    """Tell whether an error may pass by itself."""
    if error.errno is None:
        # What libraries of remote storage raise has a class, but often no number.
        return isinstance(error, (ConnectionError, TimeoutError))
    return error.errno in TRANSIENT_ERRNOS


def pause_seconds(attempt: int) -> float:
    """Return how long to wait after the failed attempt number `attempt`, counted from 0: 1, 2, 4, ... seconds."""
    return float(min(PAUSE_SECONDS_MAX, FIRST_PAUSE_SECONDS * 2**attempt))


def patiently(
    work: Callable[[], Result],
    *,
    num_retries: int,
    on_retry: Callable[[OSError, float], None],
    sleep: Callable[[float], None] = time.sleep,
) -> Result:
    """Do some work, again after a pause where it fails in passing; raise the last error, or one that will not pass.

    `on_retry` hears of every failure that is tried again, and of the seconds until then.
    """
    for attempt in range(num_retries):
        try:
            return work()
        except OSError as error:
            if not is_transient(error):
                raise
            pause = pause_seconds(attempt)
            on_retry(error, pause)
        sleep(pause)
    return work()
