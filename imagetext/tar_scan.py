"""What can still be read of a tar: unsorted, with keys that come twice, cut in the middle, or damaged."""

import os
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from imagetext.tar_index import TarMember, split_name

_BLOCK_BYTES = tarfile.BLOCKSIZE


@dataclass(frozen=True)
class TarScan:
    """The samples of a tar, and where it stops being one."""

    samples: Sequence[TarMember]
    """In the order of their first files. Files of one key that lie apart are one sample, unless an extension comes
    again: that begins another sample of this key."""
    damage: str | None
    """What is wrong with the tar, None for a whole one."""


def scan_tar(file: BinaryIO) -> TarScan:
    """Return what a tar holds, read from its headers alone; a file that is cut off is left out."""
    samples: list[TarMember] = []
    latest: dict[str, dict[str, tuple[int, int]]] = {}
    entries = _Entries(file)
    for name, offset, size in entries:
        key, extension = split_name(name)
        parts = latest.get(key)
        if parts is None or extension in parts:
            parts = latest[key] = {}
            samples.append(TarMember(_text(key), parts))
        parts[extension] = (offset, size)
    return TarScan(samples, entries.damage)


class _Entries:
    """The whole files of a tar; `damage` is known once they have been passed."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self.damage: str | None = None

    def __iter__(self) -> Iterator[tuple[str, int, int]]:
        size_bytes = self._file.seek(0, os.SEEK_END)
        self._file.seek(0)
        try:
            with tarfile.open(fileobj=self._file, mode="r:") as tar:
                for info in tar:
                    if info.isfile() and info.offset_data + info.size <= size_bytes:
                        yield info.name, info.offset_data, info.size
                end = tar.offset
        except tarfile.TarError as error:
            self.damage = f"the tar of {size_bytes} bytes is cut or damaged: {error}"
            return
        # tarfile takes a damaged header for the end of the archive; a whole archive closes with a block of zeros.
        self._file.seek(end)
        if self._file.read(_BLOCK_BYTES) != bytes(_BLOCK_BYTES):
            self.damage = f"the tar of {size_bytes} bytes is cut or damaged at byte {end}"


def _text(key: str) -> str:
    """Return a key as text; bytes of a name that are no UTF-8 become `\\xNN`."""
    return key.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
