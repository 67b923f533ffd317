"""Write shards in img2dataset's webdataset layout, byte for byte the same for the same rows."""

import hashlib
import io
import json
import tarfile
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from runtime.atomic import atomic_path, write_json
from runtime.errors import UserError

_SHARD_DIGITS = 5
_ROW_DIGITS = 4
MAX_ROWS_PER_SHARD = 10**_ROW_DIGITS
"""Rows that fit a key's four row digits."""
SUCCESS = "success"


@dataclass(kw_only=True)
class ShardRow:
    """Hold one row to be written: a sample of the tar, or, without an image, a failure the parquet alone records."""

    key: str
    image: bytes | None
    extension: str = "jpg"
    caption: str = ""
    metadata: dict[str, object] = field(default_factory=dict)
    """Written to key.json and, nested values as JSON text, to the parquet. `sha256` defaults to the image's own."""
    status: str = SUCCESS
    error_message: str | None = None


def make_key(shard_index: int, row_index: int) -> str:
    """Return the nine digits of a sample: five of the shard, four of the row."""
    if not (0 <= shard_index < 10**_SHARD_DIGITS and 0 <= row_index < MAX_ROWS_PER_SHARD):
        raise ValueError(f"no key for shard {shard_index}, row {row_index}")
    return f"{shard_index:0{_SHARD_DIGITS}d}{row_index:0{_ROW_DIGITS}d}"


def write_rows(folder: Path, index: int, rows: Iterable[ShardRow]) -> str:
    """Write `NNNNN.tar`, `NNNNN.parquet` and, last, `NNNNN_stats.json`; return the shard's name.

    Raises UserError as `write_named` does.
    """
    name = f"{index:0{_SHARD_DIGITS}d}"
    write_named(folder, name, rows)
    return name


def write_named(folder: Path, name: str, rows: Iterable[ShardRow]) -> None:
    """Write a shard under a name of any number of digits: tar, parquet and, last, stats.

    Raises:
        UserError: for a key that comes twice, or a row whose status and image disagree.
    """
    stats_path = folder / f"{name}_stats.json"
    # An older completion mark must not vouch for the files that now take the old ones' place.
    stats_path.unlink(missing_ok=True)
    records: list[dict[str, object]] = []
    tar_path = folder / f"{name}.tar"
    with atomic_path(tar_path) as partial:
        with tarfile.open(partial, "w", format=tarfile.USTAR_FORMAT) as tar:
            for row in rows:
                _check(row, tar_path)
                record = _record(row)
                records.append(record)
                _add(tar, row, record)
        _check_distinct(records, tar_path)
        digest = _sha256_of_file(partial)
    _write_parquet(folder / f"{name}.parquet", records)
    write_json(stats_path, _stats(records, digest))


def _check(row: ShardRow, where: Path) -> None:
    if (row.status == SUCCESS) != (row.image is not None):
        found = f"status {row.status} {'without' if row.image is None else 'with'} image"
        raise UserError(
            f"row {row.key} contradicts itself",
            where=where,
            found=found,
            wanted="an image exactly when the status is success",
        )


def _check_distinct(records: list[dict[str, object]], where: Path) -> None:
    key, count = Counter(str(record["key"]) for record in records).most_common(1)[0] if records else ("", 0)
    if count > 1:
        raise UserError("duplicate key", where=where, found=f"{key} {count} times", wanted="each key once")


def _record(row: ShardRow) -> dict[str, object]:
    digest = {} if row.image is None else {"sha256": hashlib.sha256(row.image).hexdigest()}
    own = {"key": row.key, "status": row.status, "error_message": row.error_message, "caption": row.caption}
    return {**digest, **row.metadata, **own}


def _add(tar: tarfile.TarFile, row: ShardRow, record: Mapping[str, object]) -> None:
    if row.image is None:
        return
    parts = {
        row.extension: row.image,
        "txt": row.caption.encode(),
        "json": json.dumps(record, indent=4, ensure_ascii=False).encode(),
    }
    for extension, data in parts.items():
        # A fixed owner and time (tarfile's zero defaults): the same rows give the same bytes.
        info = tarfile.TarInfo(f"{row.key}.{extension}")
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))


def _write_parquet(path: Path, records: list[dict[str, object]]) -> None:
    import pyarrow
    import pyarrow.parquet

    columns = sorted({column for record in records for column in record} - {"key", "status"})
    table = pyarrow.table(
        {column: [_flat(record.get(column)) for record in records] for column in ["key", "status", *columns]}
    )
    with atomic_path(path) as partial:
        pyarrow.parquet.write_table(table, partial)


def _flat(value: object) -> object:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list | tuple) else value


def _stats(records: list[dict[str, object]], tar_sha256: str) -> dict[str, object]:
    statuses = Counter(str(record["status"]) for record in records)
    return {
        "count": len(records),
        "successes": statuses[SUCCESS],
        "status_dict": dict(sorted(statuses.items())),
        "tar_sha256": tar_sha256,
    }


def _sha256_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
