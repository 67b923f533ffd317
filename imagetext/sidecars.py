"""Captions beside the images: one parquet per shard and captioner, joined by key; images are never rewritten.

A folder holds `NNNNN.parquet` and, written last, `NNNNN_stats.json`. Columns start with those of Recap-DataComp-1B.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from imagetext import files
from imagetext.parquet import read_table
from imagetext.samples import Sample
from imagetext.sidecar_schema import OWN_COLUMNS, RECAPTION_COLUMN, SIDECAR_SCHEMA, sidecar_table
from runtime.atomic import atomic_path, write_json
from runtime.errors import UserError
from runtime.json_files import parse_object

__all__ = [
    "OWN_COLUMNS",
    "RECAPTION_COLUMN",
    "SIDECAR_SCHEMA",
    "SidecarRow",
    "caption_of",
    "is_complete",
    "read_mark",
    "read_sidecar",
    "read_sidecar_table",
    "rewrite_sidecar",
    "sidecar_fingerprint",
    "write_sidecar",
]


@dataclass(frozen=True)
class SidecarRow:
    """Hold what a trainer needs of one sidecar row."""

    key: str
    caption: str | None
    """The caption; None where the captioner failed."""
    sha256: str | None
    status: str


def write_sidecar(
    folder: Path,
    shard_name: str,
    rows: Sequence[Mapping[str, object]],
    *,
    own_types: Mapping[str, pyarrow.DataType] | None = None,
    facts: Mapping[str, object] | None = None,
) -> Path:
    """Write a shard's captions, then its completion mark; return the parquet's path.

    Columns left out of a row are null, except the lengths, which are counted, and the status, which is "success".
    Further captions are entries `re_caption_<suffix>`, the users' own columns a mapping under `OWN_COLUMNS`, their
    types `own_types` as far as known. The mark holds counts, the parquet's digest and `facts` (plain JSON types).

    Raises:
        UserError: for a key that comes twice, and as `imagetext.sidecar_schema.sidecar_table` does.
    """
    path = Path(folder) / f"{shard_name}.parquet"
    _check_keys(rows, path)
    table = sidecar_table(rows, own_types or {}, path)
    mark = _mark_path(folder, shard_name)
    mark.unlink(missing_ok=True)
    _write_table(table, path, mark, facts or {})
    return path


def rewrite_sidecar(folder: Path, shard_name: str, table: pyarrow.Table, facts: Mapping[str, object]) -> None:
    """Write a finished sidecar's table anew, then its mark: the one before with `facts` and counts of the new rows."""
    before = read_mark(folder, shard_name)
    mark = _mark_path(folder, shard_name)
    mark.unlink()
    _write_table(table, Path(folder) / f"{shard_name}.parquet", mark, {**before, **facts})


def is_complete(folder: str | Path, shard_name: str) -> bool:
    """Tell whether a shard's sidecar was finished."""
    return files.exists(files.join(folder, f"{shard_name}_stats.json"))


def read_sidecar_table(folder: str | Path, shard_name: str, columns: Sequence[str] | None = None) -> pyarrow.Table:
    """Return a finished sidecar's table.

    Raises:
        UserError: when the folder, the shard's sidecar or its completion mark is missing, or a column does not exist.
    """
    location = files.join(folder, f"{shard_name}.parquet")
    if not files.exists(location):
        raise UserError(
            f"sidecar of shard {shard_name} is missing",
            where=location,
            fix="Caption this shard, or correct the sidecar folder",
        )
    if not is_complete(folder, shard_name):
        raise UserError(
            "sidecar is unfinished",
            where=location,
            wanted=f"{shard_name}_stats.json beside it",
            fix="Run its writer again",
        )
    return read_table(location, columns)


def read_sidecar(folder: str | Path, shard_name: str, column: str = RECAPTION_COLUMN) -> dict[str, SidecarRow]:
    """Return a shard's captions by key, taken from `column`; an empty caption counts as none."""
    table = read_sidecar_table(folder, shard_name)
    where = files.join(folder, f"{shard_name}.parquet")
    for name in ("key", column):
        if name not in table.column_names:
            raise UserError(
                f"parquet has no column {name}", where=where, wanted=f"one of {', '.join(table.column_names)}"
            )
    count = table.num_rows
    keys = table.column("key").to_pylist()
    captions = table.column(column).to_pylist()
    digests = table.column("sha256").to_pylist() if "sha256" in table.column_names else [None] * count
    statuses = table.column("status").to_pylist() if "status" in table.column_names else ["success"] * count
    rows = {
        key: SidecarRow(key, caption if caption and caption.strip() else None, digest, status or "success")
        for key, caption, digest, status in zip(keys, captions, digests, statuses, strict=True)
    }
    if len(rows) != count:
        raise UserError(
            "duplicate key in sidecar", where=where, found=f"{count} rows, {len(rows)} keys", wanted="each key once"
        )
    return rows


def caption_of(rows: Mapping[str, SidecarRow], sample: Sample, where: str | Path) -> str | None:
    """Return the caption that belongs to a sample; None where the sidecar has no row or no caption for it.

    Raises:
        UserError: when the row records another sha256 than the sample: the captions were written for other images.
    """
    row = rows.get(sample.key)
    if row is None:
        return None
    if row.sha256 is not None and sample.sha256 is not None and row.sha256 != sample.sha256:
        raise UserError(
            f"sidecar was written for other images: sha256 of {sample.qualified_key}",
            where=where,
            found=row.sha256,
            wanted=sample.sha256,
            fix="Point to the sidecar of these shards",
        )
    return row.caption


def sidecar_fingerprint(folder: str | Path, shard_name: str) -> str:
    """Return the digest that a finished sidecar's mark records, or a digest of the mark."""
    mark = read_mark(folder, shard_name)
    return str(mark.get("parquet_sha256", hashlib.sha256(json.dumps(mark).encode()).hexdigest()))


def read_mark(folder: str | Path, shard_name: str) -> dict[str, Any]:
    """Return what a finished sidecar's completion mark says; raise UserError where it is missing or damaged."""
    location = files.join(folder, f"{shard_name}_stats.json")
    return parse_object(files.read_bytes(location), location)


def _write_table(table: pyarrow.Table, path: Path, mark: Path, facts: Mapping[str, object]) -> None:
    with atomic_path(path) as partial:
        pyarrow.parquet.write_table(table, partial)
        digest = hashlib.sha256(partial.read_bytes()).hexdigest()
    statuses = Counter(table.column("status").to_pylist())
    counts = {"count": len(table), "status_dict": dict(sorted(statuses.items())), "parquet_sha256": digest}
    write_json(mark, {**facts, **counts})


def _check_keys(rows: Sequence[Mapping[str, object]], where: Path) -> None:
    keys = Counter(str(row["key"]) for row in rows)
    repeated = [key for key, count in keys.items() if count > 1]
    if repeated:
        raise UserError("duplicate key in sidecar", where=where, found=repeated[0], wanted="each key once")


def _mark_path(folder: str | Path, shard_name: str) -> Path:
    return Path(folder) / f"{shard_name}_stats.json"
