"""Where each sample's files lie inside a tar, so that any of them can be read alone."""

import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import BinaryIO

from runtime.errors import UserError

_BLOCK_BYTES = tarfile.BLOCKSIZE


@dataclass(frozen=True)
class TarMember:
    """Locate the files of one sample: extension -> (offset, size) in bytes."""

    key: str
    parts: Mapping[str, tuple[int, int]]


def index_tar(file: BinaryIO, where: str) -> list[TarMember]:
    """Return the samples of a tar in their order, read from its headers alone.

    A key is a path up to the first dot of its name, the rest, in lower case, its extension (webdataset's rule).

    Raises:
        UserError: for a tar that is truncated or no tar at all, for a key that comes twice.
    """
    samples: dict[str, dict[str, tuple[int, int]]] = {}
    current = None
    for name, offset, size in _entries(file, where):
        key, extension = split_name(name)
        if key != current and key in samples:
            raise UserError("duplicate key in tar", where=where, found=key, wanted="each key once, its files together")
        current = key
        parts = samples.setdefault(key, {})
        if extension in parts:
            raise UserError("duplicate file in tar", where=where, found=name, wanted="each name once")
        parts[extension] = (offset, size)
    return [TarMember(key, parts) for key, parts in samples.items()]


def split_name(name: str) -> tuple[str, str]:
    """Return the key and the extension of a file's name, as webdataset parts them."""
    path = PurePosixPath(name)
    stem, _, extension = path.name.partition(".")
    folder = "" if str(path.parent) == "." else f"{path.parent}/"
    return f"{folder}{stem}", extension.lower()


def read_part(file: BinaryIO, span: tuple[int, int], where: str) -> bytes:
    """Return the bytes of one file of a sample."""
    offset, size = span
    file.seek(offset)
    data = file.read(size)
    if len(data) != size:
        raise _truncated(where, f"{len(data)} of {size} bytes at offset {offset}")
    return data


def _entries(file: BinaryIO, where: str) -> list[tuple[str, int, int]]:
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            entries = [(info.name, info.offset_data, info.size) for info in tar if info.isfile()]
            end = tar.offset
    except tarfile.TarError as error:
        raise _truncated(where, str(error)) from None
    # tarfile takes the end of the data for the end of the archive; a whole archive closes with a block of zeros.
    file.seek(end)
    if file.read(_BLOCK_BYTES) != bytes(_BLOCK_BYTES):
        raise _truncated(where, f"no end mark after {len(entries)} files")
    return entries


def _truncated(where: str, found: str) -> UserError:
    return UserError("tar is truncated or damaged", where=where, found=found, fix="Fetch or write this shard again")
