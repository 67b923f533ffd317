"""Who may write to a job's folder: the whole job keeps everyone out, a part keeps out itself and the whole job."""

import fcntl
import os
import platform
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from recaption.executors.partition import Part
from runtime.atomic import make_folder
from runtime.errors import UserError
from runtime.patience import takes_lock

LEASE_SECONDS = 120.0
"""How long a server of files may hold locks for a machine that vanished; NFS gives 90 s."""


class JobLock:
    """Locks of one process on a job; they die with the process, however it dies.

    A server of files may hold those of a machine that vanished for a while: locks of other machines are waited for. The
    holder's name stands in the lock's file, and a person who knows it to be dead may delete the file. Some file systems
    have no locks. There two processes may do the same work twice; sidecars are whole or absent all the same.
    """

    def __init__(self, folder: Path, part: Part):
        """Take the locks; raises UserError when another process holds them for longer than dying takes."""
        self._part, self._job = part, folder / ".lock"
        self._parts = make_folder(folder / "job" / "parts")
        self._files: list[TextIO] = []
        try:
            self._take_all()
        except UserError:
            self.close()
            raise

    def _take_all(self) -> None:
        kind = fcntl.LOCK_EX if self._part.is_whole else fcntl.LOCK_SH
        self._take(self._job, kind, "another process is writing to this run")
        if not self._part.is_whole:
            own = self._parts / f"{self._part.index}-of-{self._part.count}.lock"
            self._take(own, fcntl.LOCK_EX, "another process captions this part")
            self._refuse_other_cuts()

    def _take(self, path: Path, kind: int, refusal: str) -> None:
        file = path.open("a+")
        self._files.append(file)
        try:
            taken = takes_lock(lambda: fcntl.lockf(file, kind | fcntl.LOCK_NB)) or self._outlives(file, kind)
        except OSError as error:
            print(f"{path}: no locks here ({error}): see that no two processes caption one part", file=sys.stderr)
            return
        if not taken:
            fix = f"Wait for it, or stop it; if its machine is dead, delete {path}"
            raise UserError(refusal, where=path.parent, found=self._holders(path), wanted="nobody", fix=fix)
        file.truncate(0)
        if kind == fcntl.LOCK_EX:
            _sign(file)

    def _outlives(self, file: TextIO, kind: int) -> bool:
        """Tell whether a lock comes free while its server may still hold it for a machine that is gone."""
        holders = self._holders(Path(file.name))
        if f" on {platform.node()} " in holders:
            return False
        print(f"{file.name}: held by {holders}; waiting {LEASE_SECONDS:g} s at most", file=sys.stderr, flush=True)
        deadline = time.monotonic() + LEASE_SECONDS
        while time.monotonic() < deadline:
            if takes_lock(lambda: fcntl.lockf(file, kind | fcntl.LOCK_NB)):
                return True
        return False

    def _holders(self, path: Path) -> str:
        """Return who holds a lock, or, where parts share it, who holds theirs."""
        return _holder(path) or ", ".join(filter(None, map(_holder, self._held()))) or "a process unknown"

    def _refuse_other_cuts(self) -> None:
        """Raise UserError while parts of the job cut otherwise are at work: both would do the same units."""
        for path in self._held():
            if _count(path) != self._part.count:
                raise UserError(
                    f"the job is being captioned in {_count(path)} parts",
                    where="part",
                    found=str(self._part),
                    wanted=f"INDEX/{_count(path)}, or no process at work on such parts ({_holder(path)})",
                )

    def _held(self) -> Iterator[Path]:
        """Yield the lock files of parts at which others are at work."""
        for path in sorted(self._parts.glob("*.lock")):
            # Closing a file gives up this process's own lock on it.
            if path.name in {Path(file.name).name for file in self._files}:
                continue
            with path.open("a+") as file:
                try:
                    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except (BlockingIOError, PermissionError):
                    yield path
                except OSError:
                    return

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


def _sign(file: TextIO) -> None:
    """Write down who holds a lock, for whoever is kept out by it."""
    since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    file.write(f"process {os.getpid()} on {platform.node()} since {since}\n")
    file.flush()


def _holder(path: Path) -> str:
    """Return what the holder of a lock that this process does not hold wrote down."""
    with suppress(OSError):
        return path.read_text().strip()
    return ""


def _count(path: Path) -> int:
    match = re.fullmatch(r"\d+-of-(\d+)\.lock", path.name)
    return int(match[1]) if match else 0
