"""Units of a folder: slices of somebody's own files."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from recaption.inputs.units import UNREADABLE, InputRow
from runtime.errors import UserError

if TYPE_CHECKING:
    import pyarrow


@dataclass(frozen=True)
class FolderUnit:
    """A slice of a folder's files; the key is the path below the folder."""

    name: str
    folder: Path
    names: tuple[str, ...]
    """The files' paths below the folder; a million `Path`s would fill half a gigabyte."""

    def count_rows(self) -> int:
        """Return the number of files."""
        return len(self.names)

    def fingerprint(self) -> str:
        """Return a digest of names and sizes."""
        digest = hashlib.sha256()
        for key, name in zip(self.keys(), self.names, strict=True):
            digest.update(f"{key} {(self.folder / name).stat().st_size}\n".encode())
        return digest.hexdigest()

    def keys(self) -> list[str]:
        """Return the files' relative paths."""
        return [_key(name) for name in self.names]

    def column_types(self) -> "Mapping[str, pyarrow.DataType]":
        """Return nothing: files have no columns."""
        return {}

    def rows(self) -> Iterator[InputRow]:
        """Yield the files; one that can't be read becomes a row that says so."""
        for key, name in zip(self.keys(), self.names, strict=True):
            try:
                data = (self.folder / name).read_bytes()
            except OSError as error:
                yield InputRow(key=key, image=None, status=UNREADABLE, error_message=str(error.strerror))
            else:
                yield InputRow(key=key, image=data, sha256=hashlib.sha256(data).hexdigest())


def list_folder_units(folder: Path, images_per_unit: int) -> list[FolderUnit]:
    """Return the files below a folder, hidden ones left out, in order of their names and in slices.

    Raises UserError for a folder that is not there or holds no files.
    """
    if not folder.is_dir():
        raise UserError("no such folder", where=folder, fix="Check --images.")
    names = sorted(_files_below(folder, ""), key=lambda name: name.split("/"))
    if not names:
        raise UserError("the folder holds no files", where=folder, wanted="pictures, at any depth")
    starts = range(0, len(names), images_per_unit)
    return [
        FolderUnit(f"{index:05d}", folder, tuple(names[start : start + images_per_unit]))
        for index, start in enumerate(starts)
    ]


def _files_below(folder: Path, prefix: str) -> Iterator[str]:
    """Yield the paths of files below a folder, hidden ones left out; links to folders are not followed."""
    with os.scandir(folder) as entries:
        found = [entry for entry in entries if not entry.name.startswith(".")]
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            yield from _files_below(Path(entry.path), f"{prefix}{entry.name}/")
        elif entry.is_file():
            yield f"{prefix}{entry.name}"


def _key(name: str) -> str:
    """Return a path as a text: bytes of it that are no UTF-8 become `\\xNN`."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
