"""The unit of work: a shard, or a slice of a folder, with every row it must give back."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from imagetext.shards import AttemptedRow, Shard, list_shards, read_attempted, read_shard
from runtime.errors import UserError

SUCCESS = "success"
MISSING = "missing_from_tar"
UNREADABLE = "failed_to_read"


@dataclass(frozen=True, kw_only=True)
class InputRow:
    """One row to caption: its identity, and its encoded image unless an earlier stage failed on it."""

    key: str
    image: bytes | None
    status: str = SUCCESS
    error_message: str | None = None
    caption: str | None = None
    uid: str | None = None
    url: str | None = None
    sha256: str | None = None


@runtime_checkable
class Unit(Protocol):
    """A named part of the input that is captioned whole by one worker."""

    @property
    def name(self) -> str:
        """Return the name of the sidecar to write."""

    @property
    def num_rows(self) -> int:
        """Return how many rows go in, and must come out."""

    @property
    def fingerprint(self) -> str:
        """Return a digest of the content, compared when a job is continued."""

    def rows(self) -> Iterator[InputRow]:
        """Yield every row once, in order, failed ones included."""

    def keys(self) -> list[str]:
        """Return the keys of `rows`, in order."""


@dataclass(frozen=True)
class ShardUnit:
    """A shard in img2dataset's layout: rows are those of its parquet."""

    shard: Shard

    @property
    def name(self) -> str:
        """Return the shard's digits."""
        return self.shard.name

    @property
    def num_rows(self) -> int:
        """Return the rows attempted."""
        return self.shard.num_rows

    @property
    def fingerprint(self) -> str:
        """Return the digest that the shard's writer recorded."""
        return self.shard.fingerprint

    def keys(self) -> list[str]:
        """Return the keys of all rows attempted."""
        return [row.key for row in read_attempted(self.shard)]

    def rows(self) -> Iterator[InputRow]:
        """Yield the attempted rows with their images; images are read in the order of the tar, one at a time."""
        waiting: dict[str, AttemptedRow] = {row.key: row for row in read_attempted(self.shard)}
        for sample in read_shard(self.shard, self.shard.name):
            if sample.key not in waiting:
                where, fix = self.shard.tar, "Fetch or write this shard again."
                raise UserError(
                    "the tar holds a sample that its parquet does not list", where=where, found=sample.key, fix=fix
                )
            yield _input_row(waiting.pop(sample.key), sample.image)
        for row in waiting.values():
            yield _input_row(row, None)


@dataclass(frozen=True)
class FolderUnit:
    """A slice of somebody's own files; the key is the path below the folder."""

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

    def rows(self) -> Iterator[InputRow]:
        """Yield the files; one that can't be read becomes a row that says so."""
        for key, path in zip(self.keys(), self.paths, strict=True):
            try:
                data = path.read_bytes()
            except OSError as error:
                yield InputRow(key=key, image=None, status=UNREADABLE, error_message=str(error.strerror))
            else:
                yield InputRow(key=key, image=data, sha256=hashlib.sha256(data).hexdigest())


def list_shard_units(location: str) -> list[ShardUnit]:
    """Return one unit per shard."""
    return [ShardUnit(shard) for shard in list_shards(location)]


def list_folder_units(folder: Path, images_per_unit: int) -> list[FolderUnit]:
    """Return the files below a folder, hidden ones left out, in order of their names and in slices."""
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


def _input_row(row: AttemptedRow, image: bytes | None) -> InputRow:
    lost = image is None and row.status == SUCCESS
    return InputRow(
        key=row.key,
        image=image if row.status == SUCCESS else None,
        status=MISSING if lost else row.status,
        error_message="listed as a success, but not in the tar" if lost else row.error_message,
        caption=row.caption,
        uid=row.uid,
        url=row.url,
        sha256=row.sha256,
    )
