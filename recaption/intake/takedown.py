"""Take rows out of what is finished: sidecars, exported shards, exported data sets.

A row keeps its place, its key and its digest, by which it stays taken down; its texts, its URL and its picture go. Each
file is whole before and after, and a stopped takedown is started again.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from imagetext.shard_writer import ShardRow, write_named
from imagetext.shards import list_shard_names
from imagetext.sidecars import read_sidecar_table
from recaption.exchange.hugging_face_export import DATA
from recaption.exchange.picture_format import extension_of
from recaption.inputs.shard_units import ShardUnit
from recaption.inputs.units import SUCCESS
from recaption.intake.config import TakedownConfig
from recaption.intake.unwanted import Unwanted
from recaption.job.marks import finished_names, rewrite_unit
from runtime.atomic import atomic_path
from runtime.errors import UserError

TAKEN_DOWN = "taken_down"
_KEPT = ("key", "uid", "sha256", "captioner_id", "prompt_id", "attempts")
_ROWS_PER_GROUP = 100


def take_down(config: TakedownConfig) -> None:
    """Take listed rows out of folders and print how many there were.

    Raises UserError for a list that can't be read, and for a folder that is neither a run nor an export.
    """
    unwanted = Unwanted(config.lists)
    for folder in config.folders:
        count = sum(_of_kind(folder, unwanted, dry_run=config.dry_run))
        print(f"{folder}: {count} rows {'would be' if config.dry_run else 'were'} taken down")


def _of_kind(folder: Path, unwanted: Unwanted, *, dry_run: bool) -> Iterator[int]:
    if (folder / DATA).is_dir():
        yield from (_from_table(path, unwanted, dry_run=dry_run) for path in sorted((folder / DATA).glob("*.parquet")))
    elif any(folder.glob("*.tar")):
        for name in list_shard_names(folder):
            yield _from_shard(ShardUnit(str(folder), name), unwanted, dry_run=dry_run)
    elif finished_names(folder):
        yield from (_from_sidecar(folder, name, unwanted, dry_run=dry_run) for name in sorted(finished_names(folder)))
    else:
        wanted = "the folder of a run, an import or an export"
        raise UserError("nothing to take down from", where=folder, wanted=wanted, fix="Check --folders.")


def _from_sidecar(folder: Path, name: str, unwanted: Unwanted, *, dry_run: bool) -> int:
    table = read_sidecar_table(folder, name)
    rows = table.to_pylist()
    hits = [_hit(row, unwanted) for row in rows]
    if any(hits) and not dry_run:
        cleared = [_cleared(row, listed) if listed else row for row, listed in zip(rows, hits, strict=True)]
        rewrite_unit(folder, name, pyarrow.Table.from_pylist(cleared, schema=table.schema))
    return sum(hit is not None for hit in hits)


def _from_table(path: Path, unwanted: Unwanted, *, dry_run: bool) -> int:
    """Leave rows out of a file of a Hugging Face data set."""
    file = pyarrow.parquet.ParquetFile(path)
    columns = [name for name in ("sha256", "url") if name in file.schema_arrow.names]
    kept = [unwanted.listed_in(row.get("sha256"), row.get("url")) is None for row in file.read(columns).to_pylist()]
    if not all(kept) and not dry_run:
        start = 0
        with atomic_path(path) as partial, pyarrow.parquet.ParquetWriter(partial, file.schema_arrow) as writer:
            for batch in file.iter_batches(batch_size=_ROWS_PER_GROUP):
                mask = pyarrow.array(kept[start : start + len(batch)])
                writer.write_table(pyarrow.Table.from_batches([batch.filter(mask)]))
                start += len(batch)
    return kept.count(False)


def _from_shard(unit: ShardUnit, unwanted: Unwanted, *, dry_run: bool) -> int:
    """Leave samples out of a tar of ours; their rows stay in its parquet and say so."""
    table = pyarrow.parquet.read_table(unit.parquet)
    rows = {str(row["key"]): row for row in table.to_pylist()}
    hits = {key: listed for key, row in rows.items() if (listed := _hit(row, unwanted)) is not None}
    if hits and not dry_run:
        write_named(Path(unit.folder), unit.name, list(_shard_rows(unit, rows, hits)))
    return len(hits)


def _shard_rows(unit: ShardUnit, rows: Mapping[str, Mapping[str, Any]], hits: Mapping[str, str]) -> Iterator[ShardRow]:
    for row in unit.rows():
        said = dict(rows[row.key])
        listed = hits.get(row.key)
        if listed is not None:
            said = _cleared(said, listed)
        fixed = {name: said.pop(name, None) for name in ("key", "status", "error_message", "caption")}
        image = None if listed is not None or row.status != SUCCESS else row.image
        yield ShardRow(
            key=row.key,
            image=image,
            extension="jpg" if image is None else extension_of(image),
            caption=str(fixed["caption"] or ""),
            metadata=said,
            status=str(fixed["status"]),
            error_message=fixed["error_message"],
        )


def _hit(row: Mapping[str, Any], unwanted: Unwanted) -> str | None:
    """Return the list that a row is on; None for others, and for one that is taken down already."""
    return None if row["status"] == TAKEN_DOWN else unwanted.listed_in(row.get("sha256"), row.get("url"))


def _cleared(row: Mapping[str, Any], listed: str) -> dict[str, Any]:
    kept = {name: value if name in _KEPT else None for name, value in row.items()}
    if "flags" in row:
        kept["flags"] = []
    return {**kept, "status": TAKEN_DOWN, "error_message": f"on the list {listed}"}
