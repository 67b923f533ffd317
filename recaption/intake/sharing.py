"""Give duplicates the captions of the rows that were captioned in their stead."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow

from imagetext.sidecar_schema import RECAPTION_COLUMN, SIDECAR_SCHEMA, clean_column
from imagetext.sidecars import read_sidecar_table
from recaption.exchange.published_files import is_caption
from recaption.inputs.units import SUCCESS, Unit
from recaption.intake.deciding import DUPLICATE_PICTURE
from recaption.intake.verdicts import DUPLICATE_OF, read_verdicts
from recaption.job.marks import rewrite_unit

_TOLD = ("finish_reason", "num_tokens", "mean_logprob", "re_length", "re_clip_score", "first_caption")
"""What tells of a caption's making, and goes with it."""


def share_captions(folder: Path, units: Sequence[Unit], intake: Path) -> int:
    """Rewrite the sidecars that hold duplicates without captions; return how many rows got theirs.

    A row whose stand-in has no caption keeps its status. In memory are the captions that are shared.
    """
    wanted: dict[str, set[str]] = {}
    for unit in units:
        for verdict in read_verdicts(intake, unit.name):
            if verdict.duplicate_of is not None:
                original, _, key = verdict.duplicate_of.partition("/")
                wanted.setdefault(original, set()).add(key)
    originals: dict[str, Mapping[str, Any]] = {}
    for name, keys in wanted.items():
        rows = read_sidecar_table(folder, name).to_pylist()
        found = {f"{name}/{row['key']}": row for row in rows if row["key"] in keys and row["status"] == SUCCESS}
        originals.update({place: _shared(row) for place, row in found.items()})
    return sum(_fill(folder, unit.name, originals) for unit in units)


def _shared(row: Mapping[str, Any]) -> dict[str, Any]:
    texts = [name for name in row if is_caption(name) and name not in SIDECAR_SCHEMA.names]
    columns = [RECAPTION_COLUMN, *texts]
    names = [*columns, *(clean_column(name) for name in columns), *_TOLD]
    return {**{name: row[name] for name in names if name in row}, "flags": row["flags"] or []}


def _fill(folder: Path, name: str, originals: Mapping[str, Mapping[str, Any]]) -> int:
    table = read_sidecar_table(folder, name)
    if DUPLICATE_OF not in table.schema.names:
        return 0
    rows, num_filled = table.to_pylist(), 0
    for row in rows:
        original = originals.get(row[DUPLICATE_OF] or "")
        if row["status"] == DUPLICATE_PICTURE and original is not None:
            flags = list(dict.fromkeys([*(row["flags"] or []), *original["flags"]]))
            row.update({**original, "flags": flags, "status": SUCCESS, "error_message": None})
            num_filled += 1
    if num_filled:
        rewrite_unit(folder, name, pyarrow.Table.from_pylist(rows, schema=table.schema))
    return num_filled
