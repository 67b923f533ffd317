"""Who may write to a job's folder: the whole job keeps everyone out, a part keeps out itself and the whole job."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from recaption.executors.partition import Part
from runtime.atomic import make_folder
from runtime.errors import UserError
from runtime.patience import takes_lock


class JobLock:
    """Locks of one process on a job; they die with the process, however it dies.

    Some network file systems have no locks. There two processes may do the same work twice; sidecars are whole or
    absent all the same, and equal whoever writes them.
    """

    def __init__(self, folder: Path, part: Part):
        """Take the locks; raises UserError when another process holds them for longer than dying takes."""
        make_folder(folder / "job" / "parts")
        self._part = part
        self._files: list[TextIO] = []
        job = _take(folder / ".lock", fcntl.LOCK_EX if part.is_whole else fcntl.LOCK_SH)
        if job is None:
            raise UserError("another process is writing to this run", where=folder, fix="Wait for it, or stop it.")
        self._files.append(job)
        if not part.is_whole:
            own = _take(folder / "job" / "parts" / f"{part.index}-of-{part.count}.lock", fcntl.LOCK_EX)
            if own is None:
                self.close()
                fix = "Wait for it, or stop it."
                raise UserError("another process captions this part", where=folder, found=str(part), fix=fix)
            self._files.append(own)

    def is_alone(self) -> bool:
        """Tell whether no other process is at work on any part of the job."""
        if self._part.is_whole:
            return True
        job = self._files[0]
        try:
            fcntl.lockf(job, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        fcntl.lockf(job, fcntl.LOCK_SH)
        return True

    def close(self) -> None:
        """Let others in."""
        for file in self._files:
            file.close()


@contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Let one process at a time through the block; all others wait."""
    with path.open("a+") as file:
        with suppress(OSError):
            fcntl.lockf(file, fcntl.LOCK_EX)
        yield


def _take(path: Path, kind: int) -> TextIO | None:
    """Return a locked file; None where another process holds it."""
    file = path.open("a+")
    try:
        taken = takes_lock(lambda: fcntl.lockf(file, kind | fcntl.LOCK_NB))
    except OSError:
        return file
    if taken:
        return file
    file.close()
    return None
