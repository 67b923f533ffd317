"""Units of img2dataset's layout: a shard, its rows those of its parquet, else those of its tar.

A shard's tar may be unsorted, cut, damaged, or hold a key twice: what its parquet lists and it does not give is a row
that says so. Without a parquet nothing tells what a cut tar lost, and the shard is refused.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, BinaryIO

from imagetext import files
from imagetext.parquet import num_rows, read_schema, read_table, rows_of
from imagetext.shards import describe_shard, list_shard_names
from imagetext.tar_scan import TarScan, scan_tar
from recaption.inputs.distinct_keys import DistinctKeys, key_of_repeat, repeat_message
from recaption.inputs.own_columns import own_types, own_values
from recaption.inputs.tar_samples import TarSample
from recaption.inputs.units import DUPLICATE, MISSING, NO_IMAGE, SUCCESS, InputRow
from runtime.errors import UserError

if TYPE_CHECKING:
    import pyarrow

_IDENTITY = ("uid", "url", "sha256")
_ROWS_AT_ONCE = 1000
_NAMED_AT_MOST = 3


@dataclass(frozen=True)
class ShardUnit:
    """A shard, known by its name alone until it is read."""

    folder: str
    """Folder or URL that holds it."""
    name: str

    @property
    def tar(self) -> str:
        """Return the tar's path or URL."""
        return files.join(self.folder, f"{self.name}.tar")

    @property
    def parquet(self) -> str:
        """Return the path or URL of the table of rows attempted, which need not be there."""
        return files.join(self.folder, f"{self.name}.parquet")

    def count_rows(self) -> int:
        """Return the rows attempted, else the tar's samples."""
        return self._num_rows

    def fingerprint(self) -> str:
        """Return the digest that the shard's writer recorded, else the size of its tar."""
        return self._fingerprint

    @cached_property
    def _num_rows(self) -> int:
        return num_rows(self.parquet, ["key"]) if self._has_parquet else len(self.keys())

    @cached_property
    def _fingerprint(self) -> str:
        return describe_shard(self.folder, self.name).fingerprint if self._has_stats else self._size()

    def column_types(self) -> "Mapping[str, pyarrow.DataType]":
        """Return the types of the parquet's other columns; a tar's JSON declares none."""
        return _own_types(read_schema(self.parquet)) if self._has_parquet else {}

    def keys(self) -> list[str]:
        """Return the keys of all rows."""
        if self._has_parquet:
            keys = [str(key) for key in read_table(self.parquet, ["key"]).column("key").to_pylist()]
        else:
            with files.open_local(self.tar) as file:
                keys = [sample.key for sample in self._whole(scan_tar(file)).samples]
        distinct = DistinctKeys()
        return [key_of_repeat(key, distinct.place(key)) for key in keys]

    def rows(self) -> Iterator[InputRow]:
        """Yield the rows of the parquet, else of the tar, in its order; one picture is in memory at a time.

        Raises:
            UserError: for a tar that is missing; for one that is cut or holds fewer samples than its stats say, when
                there is no parquet to name what it lost.
        """
        with files.open_local(self.tar) as file:
            scan = scan_tar(file)
            yield from self._rows_of_parquet(file, scan) if self._has_parquet else self._rows_of_tar(file, scan)

    def listed_rows(self) -> Iterator[InputRow]:
        """Yield the rows without their pictures, with what became of them when they were downloaded.

        A tar is read only where there is no parquet.
        """
        if self._has_parquet:
            yield from (row for _, row in self._listed())
        else:
            yield from (replace(row, image=None) for row in self.rows())

    def identities(self) -> "pyarrow.Table":
        """Return the columns sha256 and url of all rows; raise UserError for a parquet that records no sha256."""
        import pyarrow

        if not self._has_parquet:
            rows = list(self.listed_rows())
            columns = {"sha256": [row.sha256 for row in rows], "url": [row.url for row in rows]}
            return pyarrow.table({name: pyarrow.array(texts, pyarrow.string()) for name, texts in columns.items()})
        names = read_schema(self.parquet).names
        table = read_table(self.parquet, ["sha256", "url"] if "url" in names else ["sha256"])
        return table if "url" in names else table.append_column("url", pyarrow.nulls(len(table), pyarrow.string()))

    @cached_property
    def _has_parquet(self) -> bool:
        return files.exists(self.parquet)

    @cached_property
    def _has_stats(self) -> bool:
        return files.exists(files.join(self.folder, f"{self.name}_stats.json"))

    def _size(self) -> str:
        return f"{files.size_bytes(self.tar)} bytes"

    def _rows_of_parquet(self, file: BinaryIO, scan: TarScan) -> Iterator[InputRow]:
        samples: dict[str, TarSample] = {}
        for member in scan.samples:
            samples.setdefault(member.key, TarSample(file, self.tar, member))
        listed = set()
        for key, row in self._listed():
            listed.add(key)
            yield _with_sample(row, samples.get(key), scan.damage)
        self._tell_unlisted([key for key in samples if key not in listed])

    def _listed(self) -> Iterator[tuple[str, InputRow]]:
        """Yield the rows of the parquet, each with the key that it has there."""
        table, distinct = read_table(self.parquet, None), DistinctKeys()
        if "key" not in table.schema.names:
            raise UserError("parquet has no column", where=self.parquet, found=table.schema.names, wanted="key")
        own = _own_types(table.schema)
        for batch in table.to_batches(max_chunksize=_ROWS_AT_ONCE):
            for row in rows_of(batch):
                key = str(row["key"])
                yield key, _listed_row(row, distinct.place(key), own_values(row, own))

    def _rows_of_tar(self, file: BinaryIO, scan: TarScan) -> Iterator[InputRow]:
        distinct, members = DistinctKeys(), self._whole(scan).samples
        # Counted here, a tar far away need not be fetched again for its number of rows.
        vars(self)["_num_rows"] = len(members)
        for member in members:
            yield _tar_row(TarSample(file, self.tar, member), distinct.place(member.key))

    def _whole(self, scan: TarScan) -> TarScan:
        """Return the scan of a tar that lost nothing; raise UserError for another."""
        fix = "Fetch or write this shard again, or put beside it the parquet that lists its rows"
        if scan.damage is not None:
            raise UserError("tar is truncated or damaged", where=self.tar, found=scan.damage, fix=fix)
        if self._has_stats:
            found, wanted = len(scan.samples), describe_shard(self.folder, self.name).num_samples
            if found != wanted:
                what = "tar disagrees with its stats"
                raise UserError(what, where=self.tar, found=f"{found} samples", wanted=wanted, fix=fix)
        return scan

    def _tell_unlisted(self, keys: list[str]) -> None:
        if keys:
            named = ", ".join(keys[:_NAMED_AT_MOST]) + (", ..." if len(keys) > _NAMED_AT_MOST else "")
            text = f"{self.tar}: {len(keys)} samples that its parquet does not list are left out: {named}"
            print(text, file=sys.stderr, flush=True)


def list_shard_units(location: str) -> list[ShardUnit]:
    """Return one unit per shard of a folder or URL: one listing, and nothing is opened.

    Raises UserError as `imagetext.shards.list_shard_names` does.
    """
    return [ShardUnit(location, name) for name in list_shard_names(location, stats_optional=True)]


def _own_types(schema: "pyarrow.Schema") -> "dict[str, pyarrow.DataType]":
    return own_types(schema, _taken(schema.names))


def _taken(names: list[str]) -> set[str]:
    """Return the columns with a place of their own in a row; "text" is the caption where there is no "caption"."""
    return {"key", "status", "error_message", *_IDENTITY, "caption" if "caption" in names else "text"}


def _listed_row(row: Mapping[str, Any], place: int, own: Mapping[str, object]) -> InputRow:
    """Return what a parquet says of a row, its picture aside."""
    key, status, message = str(row["key"]), str(row.get("status") or SUCCESS), _text(row.get("error_message"))
    if place > 0:
        status, message = DUPLICATE, repeat_message(key, place)
    return InputRow(
        key=key_of_repeat(key, place),
        image=None,
        status=status,
        error_message=message,
        caption=_text(row.get("caption", row.get("text"))),
        columns=own,
        uid=_text(row.get("uid")),
        url=_text(row.get("url")),
        sha256=_text(row.get("sha256")),
    )


def _with_sample(row: InputRow, sample: TarSample | None, damage: str | None) -> InputRow:
    """Return a listed row with its picture, and with what the tar says of it where its parquet says nothing."""
    if sample is not None and row.status != DUPLICATE:
        row = row if row.caption is not None else replace(row, caption=sample.caption())
        if not any((row.uid, row.url, row.sha256)):
            metadata = sample.metadata()
            uid, url, sha256 = (_text(metadata.get(name)) for name in _IDENTITY)
            row = replace(row, uid=uid, url=url, sha256=sha256)
    if row.status != SUCCESS:
        return row
    image = None if sample is None else sample.image()
    if image is not None:
        return replace(row, image=image)
    held = "not in the tar" if sample is None else f"only {sample.extensions} in the tar"
    message = f"listed as a success, but {held}{f'; {damage}' if damage else ''}"
    return replace(row, status=MISSING, error_message=message)


def _tar_row(sample: TarSample, place: int) -> InputRow:
    key, metadata, image = sample.member.key, sample.metadata(), sample.image() if place == 0 else None
    status, message = SUCCESS, None
    if place > 0:
        status, message = DUPLICATE, repeat_message(key, place)
    elif image is None:
        status, message = NO_IMAGE, f"only {sample.extensions} in the tar"
    caption = sample.caption()
    return InputRow(
        key=key_of_repeat(key, place),
        image=image,
        status=status,
        error_message=message,
        caption=_text(metadata.get("caption", metadata.get("text"))) if caption is None else caption,
        columns={name: _flat(value) for name, value in metadata.items() if name not in _taken(list(metadata))},
        uid=_text(metadata.get("uid")),
        url=_text(metadata.get("url")),
        sha256=_text(metadata.get("sha256")),
    )


def _flat(value: object) -> object:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value


def _text(value: object) -> str | None:
    return None if value is None else str(value)
