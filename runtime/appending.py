"""Files of lines that several processes append to, on one machine or on a file system with locks."""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from runtime.atomic import make_folder


def append_lines(path: Path, lines: Sequence[str]) -> None:
    """Add lines to the end of a file, all in one piece and synced, while no other process of ours writes to it.

    What a killed writer left of a last line, without its end, is cut off first: it never was a line.
    """
    data = "".join(f"{line}\n" for line in lines).encode()
    make_folder(path.parent)
    with path.open("a+b") as file, _locked(file):
        _cut_torn_line(file)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def whole_lines(path: Path) -> list[str]:
    """Return a file's lines; a last one without its end is still being written, or never was."""
    return path.read_text(encoding="utf-8").split("\n")[:-1]


@contextmanager
def _locked(file: BinaryIO) -> Iterator[None]:
    # The record lock of POSIX: unlike flock it holds between machines on NFS too.
    fcntl.lockf(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.lockf(file, fcntl.LOCK_UN)


def _cut_torn_line(file: BinaryIO) -> None:
    end = file.seek(0, os.SEEK_END)
    file.seek(0)
    kept = _end_of_last_line(file, end)
    if kept != end:
        file.truncate(kept)
    file.seek(0, os.SEEK_END)


def _end_of_last_line(file: BinaryIO, end: int, step_bytes: int = 1 << 16) -> int:
    """Return the offset behind the last line's end, 0 where there is none."""
    stop = end
    while stop > 0:
        start = max(0, stop - step_bytes)
        file.seek(start)
        found = file.read(stop - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        stop = start
    return 0
