"""Write a unit as a parquet file of a Hugging Face data set: the sidecar's columns, the chosen caption, the picture."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recaption.exchange.export_config import ExportConfig
from recaption.exchange.picture_format import extension_of
from recaption.exchange.selection import SUCCESS, SelectedRow, select
from recaption.inputs.table_units import TableUnit
from recaption.inputs.units import Unit
from runtime.atomic import atomic_path
from runtime.errors import UserError

if TYPE_CHECKING:
    import pyarrow

DATA = "data"
_ROWS_PER_GROUP = 100
"""Rows of a row group, as the `datasets` library itself writes pictures: the hub's viewer reads whole groups."""
_CHOSEN = ("caption", "caption_source")


def write_parquet(
    unit: Unit, place: Path, schema: "pyarrow.Schema", sidecar: Sequence[Mapping[str, Any]], config: ExportConfig
) -> dict[str, int]:
    """Write one unit, whole or not at all; return its rows by status, those left out included."""
    import pyarrow
    import pyarrow.parquet

    counts: Counter[str] = Counter()
    rows = _counted(select(unit, sidecar, config), counts)
    with atomic_path(place) as partial, pyarrow.parquet.ParquetWriter(partial, schema) as writer:
        while some := list(islice(rows, _ROWS_PER_GROUP)):
            writer.write_table(pyarrow.Table.from_pylist(some, schema=schema))
    return dict(counts)


def data_schema(sidecars: "Iterable[pyarrow.Schema]", config: ExportConfig) -> "pyarrow.Schema":
    """Return the columns of all files: those of any sidecar, the chosen caption, and the picture as `Image`.

    A column that no sidecar has a value in is text. Raises UserError for own columns of types that can't be united.
    """
    import datasets
    import pyarrow

    try:
        united = pyarrow.unify_schemas(list(sidecars), promote_options="permissive")
    except pyarrow.ArrowException as error:
        what = "own columns differ in type from unit to unit"
        raise UserError(what, where=config.recaptions, found=str(error)) from None
    kept = [field for field in united if field.name not in ("image", *_CHOSEN)]
    fields = [(f.name, pyarrow.string() if pyarrow.types.is_null(f.type) else f.type) for f in kept]
    texts = [(name, pyarrow.string()) for name in _CHOSEN]
    picture = [("image", pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())]))]
    schema = pyarrow.schema([*(picture if config.with_pictures else []), *texts, *fields])
    features = datasets.Features.from_arrow_schema(schema)
    if config.with_pictures:
        features["image"] = datasets.Image()
    return schema.with_metadata({"huggingface": json.dumps({"info": {"features": features.to_dict()}})})


def split_of(unit: Unit) -> str:
    """Return the split that a unit belongs to: that of the data set it was captioned from, else "train"."""
    split = unit.name.rpartition("-")[0] if isinstance(unit, TableUnit) else ""
    return re.sub(r"\W", "_", split) or "train"


def _counted(rows: Iterable[SelectedRow], counts: Counter[str]) -> Iterable[dict[str, Any]]:
    for row in rows:
        counts[row.status] += 1
        if row.status == SUCCESS:
            yield _record(row)


def _record(row: SelectedRow) -> dict[str, Any]:
    chosen = {"caption": row.caption, "caption_source": row.caption_source}
    if row.image is None:
        return {**row.sidecar, **chosen}
    path = f"{row.sidecar['key']}.{extension_of(row.image)}"
    return {**row.sidecar, **chosen, "image": {"bytes": row.image, "path": path}}
