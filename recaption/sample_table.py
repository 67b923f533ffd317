"""Drawn rows as a table of their own, which captioners can be run on as on any other input."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pyarrow
import pyarrow.parquet

from recaption.config import RecaptionConfig
from recaption.inputs.table_columns import ColumnsConfig
from recaption.inputs.units import Unit
from recaption.sampling import SampledRow
from runtime.atomic import atomic_path

_COLUMNS = ("key", "image", "caption")
_IDENTITY = ("uid", "url", "sha256")


def write_sample(place: Path, rows: Iterable[SampledRow], units: Sequence[Unit], rows_per_group: int) -> None:
    """Write rows with their pictures, named as among all units' rows, whole or not at all.

    The users' own columns come along, since they take room in sidecars; of units that differ in them, the first one's.
    """
    schema = _schema(units)
    left = iter(rows)
    with atomic_path(place) as partial, pyarrow.parquet.ParquetWriter(partial, schema) as writer:
        while some := list(islice(left, rows_per_group)):
            writer.write_table(_as_table([_as_row(each) for each in some], schema))


def on_table(config: RecaptionConfig, table: Path, output_dir: Path, images_per_unit: int) -> RecaptionConfig:
    """Return a job's config for a table of `write_sample` in place of its own input; drift of so few rows is told."""
    return replace(
        config,
        table=str(table),
        shards=None,
        images=None,
        dataset=None,
        split=None,
        conversations=None,
        pictures=None,
        intake=None,
        drift=replace(config.drift, stop=False),
        columns=ColumnsConfig(**{name: name for name in _COLUMNS}),
        output_dir=output_dir,
        images_per_unit=images_per_unit,
        part="0/1",
    )


def read_sample(place: Path) -> Iterator[dict[str, object]]:
    """Yield the rows of a table of `write_sample`, few in memory at once."""
    with pyarrow.parquet.ParquetFile(place) as file:
        for batch in file.iter_batches(batch_size=64):
            yield from batch.to_pylist()


def _schema(units: Sequence[Unit]) -> pyarrow.Schema:
    texts = [(name, pyarrow.string()) for name in ("key", "caption", *_IDENTITY)]
    own = [(name, kind) for name, kind in units[0].column_types().items() if name not in (*_IDENTITY, *_COLUMNS)]
    return pyarrow.schema([*texts, ("image", pyarrow.binary()), *own])


def _as_row(each: SampledRow) -> dict[str, object]:
    row = each.row
    identity = {name: getattr(row, name) for name in _IDENTITY}
    return {**row.columns, **identity, "key": each.name, "image": row.image, "caption": row.caption}


def _as_table(rows: Sequence[dict[str, object]], schema: pyarrow.Schema) -> pyarrow.Table:
    try:
        return pyarrow.Table.from_pylist(rows, schema=schema)
    except (pyarrow.ArrowException, OverflowError):
        # Own columns of another unit's types: they are left out.
        ours = [{name: row[name] for name in (*_IDENTITY, *_COLUMNS)} for row in rows]
        return pyarrow.Table.from_pylist(ours, schema=schema)
