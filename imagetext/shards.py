"""Read shards in img2dataset's webdataset layout.

A shard is `NNNNN.tar` (key.jpg, key.txt, key.json), `NNNNN.parquet` (a row per sample attempted, failures included) and
`NNNNN_stats.json`, written last: a tar without it is unfinished. `imagetext.shard_writer` writes the same layout.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from imagetext import files
from imagetext.parquet import read_table
from imagetext.samples import ORIGINAL, Sample
from imagetext.shard_writer import ShardRow, make_key, write_rows
from imagetext.tar_index import TarMember, index_tar, read_part
from runtime.errors import UserError

__all__ = [
    "AttemptedRow",
    "Shard",
    "ShardReader",
    "ShardRow",
    "describe_shard",
    "list_shard_names",
    "list_shards",
    "make_key",
    "read_attempted",
    "read_shard",
    "write_shard",
]

IMAGE_EXTENSIONS = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff")
_STATS_SUFFIX = "_stats.json"


@dataclass(frozen=True)
class Shard:
    """Locate one finished shard."""

    name: str
    """Digits of the shard, "00000"."""
    tar: str
    """Path or URL of the tar."""
    num_rows: int
    """Rows attempted, failures included."""
    num_samples: int
    """Samples in the tar."""
    fingerprint: str = ""
    """Digest of the tar as its writer recorded it, else of what its stats say."""


@dataclass(frozen=True, kw_only=True)
class AttemptedRow:
    """Tell what became of one row that a shard's writer attempted."""

    key: str
    status: str = "success"
    error_message: str | None = None
    caption: str | None = None
    uid: str | None = None
    url: str | None = None
    sha256: str | None = None


def list_shards(folder: str | Path) -> list[Shard]:
    """Return the shards of a folder or URL in the order of their names.

    Raises:
        UserError: as `list_shard_names` does, for a tar without a stats file, for stats that can't be read.
    """
    return [describe_shard(folder, name) for name in list_shard_names(folder)]


def list_shard_names(folder: str | Path, *, stats_optional: bool = False) -> list[str]:
    """Return the names of a folder's shards, sorted: one listing, and nothing is opened.

    With `stats_optional` a folder where no tar at all has stats is taken for finished tars of another writer.

    Raises:
        UserError: when the folder is missing or holds no shard, when a tar has no stats file or a stats file no tar.
    """
    names = files.list_names(folder)
    tars = {name.removesuffix(".tar") for name in names if name.endswith(".tar")}
    stats = {name.removesuffix(_STATS_SUFFIX) for name in names if name.endswith(_STATS_SUFFIX)}
    if not tars | stats:
        raise UserError("folder holds no shards", where=folder, wanted="NNNNN.tar with NNNNN_stats.json")
    if stats_optional and not stats:
        return sorted(tars)
    if unfinished := sorted(tars - stats):
        where = files.join(folder, f"{unfinished[0]}.tar")
        fix = "Its writer did not finish: run it again, or remove the tar"
        raise UserError(f"shard has no {unfinished[0]}{_STATS_SUFFIX}", where=where, fix=fix)
    if missing := sorted(stats - tars):
        raise UserError(
            "shard's tar is missing",
            where=files.join(folder, f"{missing[0]}.tar"),
            fix="Fetch it again, or remove its stats",
        )
    return sorted(tars)


def describe_shard(folder: str | Path, name: str) -> Shard:
    """Return what a shard's stats say of it; raise UserError where they can't be read."""
    location = files.join(folder, f"{name}{_STATS_SUFFIX}")
    data = files.read_bytes(location)
    try:
        stats = json.loads(data)
        num_samples = int(stats["successes"])
        num_rows = int(stats.get("count", num_samples))
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            "stats file can't be read", where=location, found=repr(error), wanted='JSON with "successes"'
        ) from None
    fingerprint = str(stats.get("tar_sha256", f"{num_rows}/{num_samples}"))
    return Shard(name, files.join(folder, f"{name}.tar"), num_rows, num_samples, fingerprint)


def read_shard(shard: Shard, dataset: str) -> Iterator[Sample]:
    """Yield the samples of a shard in the order of its tar; the .txt becomes the "original" caption.

    Raises:
        UserError: for a tar that is missing, truncated or disagrees with its stats.
    """
    with ShardReader(shard, dataset) as reader:
        for index in range(len(reader)):
            yield reader.sample(index)


def read_attempted(shard: Shard) -> list[AttemptedRow]:
    """Return a row for every sample attempted: from the shard's parquet, else from the tar's members."""
    location = shard.tar.removesuffix(".tar") + ".parquet"
    if not files.exists(location):
        return [
            AttemptedRow(key=s.key, caption=s.captions.get(ORIGINAL), uid=s.uid, url=s.url, sha256=s.sha256)
            for s in read_shard(shard, "")
        ]
    rows = read_table(location).to_pylist()
    if rows and "key" not in rows[0]:
        raise UserError("parquet has no column", where=location, found=sorted(rows[0]), wanted="key")
    return [_attempted(row) for row in rows]


def write_shard(folder: Path, index: int, rows: Iterable[ShardRow]) -> Shard:
    """Write one shard: tar, then parquet, then stats, each whole or absent; return its description."""
    name = write_rows(Path(folder), index, rows)
    return describe_shard(folder, name)


class ShardReader:
    """Read the samples of one shard in any order; a context manager that holds the tar open."""

    def __init__(self, shard: Shard, dataset: str):
        self.shard = shard
        self._dataset = dataset
        self._file: BinaryIO = files.open_binary(shard.tar)
        self._members = self._checked_members()

    def __len__(self) -> int:
        return len(self._members)

    def __enter__(self) -> "ShardReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the tar."""
        self._file.close()

    @property
    def keys(self) -> list[str]:
        """Return the samples' keys in the order of the tar."""
        return [member.key for member in self._members]

    @property
    def members(self) -> Sequence[TarMember]:
        """Return where each sample's files lie in the tar, in its order."""
        return self._members

    def sample(self, index: int, *, with_image: bool = True) -> Sample:
        """Return the sample at `index` of the tar; without its image, that is empty and its bytes are not read."""
        member = self._members[index]
        metadata = self._metadata(member)
        caption = self._part(member, "txt")
        captions = {} if caption is None else {ORIGINAL: caption.decode("utf-8", errors="replace")}
        return Sample(
            key=member.key,
            dataset=self._dataset,
            shard=self.shard.name,
            image=self._image(member) if with_image else b"",
            captions=captions,
            uid=_text(metadata.get("uid")),
            url=_text(metadata.get("url")),
            sha256=_text(metadata.get("sha256")),
            metadata=metadata,
        )

    def _checked_members(self) -> list[TarMember]:
        members = index_tar(self._file, self.shard.tar)
        if len(members) != self.shard.num_samples:
            fix = "Fetch or write this shard again"
            raise UserError(
                "tar disagrees with its stats",
                where=self.shard.tar,
                found=f"{len(members)} samples",
                wanted=f"{self.shard.num_samples}",
                fix=fix,
            )
        return members

    def _part(self, member: TarMember, extension: str) -> bytes | None:
        span = member.parts.get(extension)
        return None if span is None else read_part(self._file, span, self.shard.tar)

    def _image(self, member: TarMember) -> bytes:
        for extension in IMAGE_EXTENSIONS:
            if extension in member.parts:
                return self._part(member, extension) or b""
        raise UserError(
            f"sample {member.key} has no image",
            where=self.shard.tar,
            found=sorted(member.parts),
            wanted=f"one of {', '.join(IMAGE_EXTENSIONS)}",
        )

    def _metadata(self, member: TarMember) -> dict[str, object]:
        data = self._part(member, "json")
        if data is None:
            return {}
        try:
            metadata = json.loads(data)
        except ValueError as error:
            raise UserError(f"{member.key}.json is not JSON", where=self.shard.tar, found=str(error)) from None
        return dict(metadata)


def _attempted(row: dict[str, object]) -> AttemptedRow:
    caption = row.get("caption", row.get("text"))
    return AttemptedRow(
        key=str(row["key"]),
        status=str(row.get("status") or "success"),
        error_message=_text(row.get("error_message")),
        caption=_text(caption),
        uid=_text(row.get("uid")),
        url=_text(row.get("url")),
        sha256=_text(row.get("sha256")),
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)
