"""Write a unit as a tar in img2dataset's layout; its parquet lists also the rows that were left out, and why."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from imagetext.shard_writer import ShardRow, write_named
from recaption.exchange.export_config import ExportConfig
from recaption.exchange.picture_format import extension_of
from recaption.exchange.selection import SelectedRow, select
from recaption.inputs.shard_units import ShardUnit
from recaption.inputs.units import Unit

_ROW_DIGITS = 4
_OWN_PLACES = ("key", "status", "error_message", "sha256")
"""What a row of a shard has a place for."""


def write_tar(unit: Unit, number: int, sidecar: Sequence[Mapping[str, Any]], config: ExportConfig) -> dict[str, int]:
    """Write one unit: tar, parquet, then stats; return its rows by status.

    Shards keep their names and keys; of other inputs a row's key is the number of its tar and its own, and the key that
    it had is `source_key`: webdataset takes a key to end at its first dot.
    """
    counts: Counter[str] = Counter()
    write_named(config.output_dir, tar_name(unit, number), _rows(unit, number, sidecar, config, counts))
    return dict(counts)


def tar_name(unit: Unit, number: int) -> str:
    """Return the name of the tar that a unit becomes."""
    return unit.name if isinstance(unit, ShardUnit) else f"{number:05d}"


def is_written(folder: Path, unit: Unit, number: int) -> bool:
    """Tell whether a unit's tar is finished."""
    return (folder / f"{tar_name(unit, number)}_stats.json").exists()


def _rows(
    unit: Unit, number: int, sidecar: Sequence[Mapping[str, Any]], config: ExportConfig, counts: Counter[str]
) -> Iterator[ShardRow]:
    digits = max(_ROW_DIGITS, len(str(len(sidecar) - 1)))
    for place, row in enumerate(select(unit, sidecar, config)):
        counts[row.status] += 1
        key = row.sidecar["key"] if isinstance(unit, ShardUnit) else f"{number:05d}{place:0{digits}d}"
        yield ShardRow(
            key=key,
            image=row.image,
            extension="jpg" if row.image is None else extension_of(row.image),
            caption=row.caption,
            metadata=_metadata(row, key),
            status=row.status,
            error_message=row.reason,
        )


def _metadata(row: SelectedRow, key: str) -> dict[str, object]:
    kept = {name: _plain(value) for name, value in row.sidecar.items() if name not in _OWN_PLACES}
    digest = {} if row.sidecar["sha256"] is None else {"sha256": row.sidecar["sha256"]}
    source = {} if key == row.sidecar["key"] else {"source_key": row.sidecar["key"]}
    return {**digest, **source, "caption_source": row.caption_source or None, **kept}


def _plain(value: Any) -> object:
    """Return a value as JSON has it: times and the like as texts."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)
