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
    paths: tuple[Path, ...]

    @property
    def num_rows(self) -> int:
        """Return the number of files."""
        return len(self.paths)

    @property
    def fingerprint(self) -> str:
        """Return a digest of names and sizes."""
        digest = hashlib.sha256()
        for key, path in zip(self.keys(), self.paths, strict=True):
            digest.update(f"{key} {path.stat().st_size}\n".encode())
        return digest.hexdigest()

    def keys(self) -> list[str]:
        """Return the files' relative paths."""
        return [_key(path, self.folder) for path in self.paths]

    def column_types(self) -> "Mapping[str, pyarrow.DataType]":
        """Return nothing: files have no columns."""
        return {}

    def rows(self) -> Iterator[InputRow]:
        """Yield the files; one that can't be read becomes a row that says so."""
        for key, path in zip(self.keys(), self.paths, strict=True):
            try:
                data = path.read_bytes()
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
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and not _hidden(path.relative_to(folder)))
    if not paths:
        raise UserError("the folder holds no files", where=folder, wanted="pictures, at any depth")
    starts = range(0, len(paths), images_per_unit)
    return [
        FolderUnit(f"{index:05d}", folder, tuple(paths[start : start + images_per_unit]))
        for index, start in enumerate(starts)
    ]


def _key(path: Path, folder: Path) -> str:
    """Return a file's path below a folder; bytes of its name that are no UTF-8 become `\\xNN`."""
    return os.fsencode(path.relative_to(folder).as_posix()).decode("utf-8", "backslashreplace")


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
