"""The columns of a sidecar: those of Recap-DataComp-1B, ours, further captions of the same picture, the users' own."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow

from runtime.errors import UserError

RECAPTION_COLUMN = "re_caption"
FURTHER_CAPTION_PREFIX = f"{RECAPTION_COLUMN}_"
"""Beginning of the columns that hold further captions of the same picture, `re_caption_<suffix>`."""
CLEAN_COLUMN = "clean_caption"
"""What is left of `re_caption` once what its flags name is taken out; null where that is nothing."""
CLEAN_PREFIX = f"{CLEAN_COLUMN}_"
OWN_COLUMNS = "columns"
"""Entry of a row to be written that holds the users' own columns, name -> value."""
OWN_PREFIX = "input_"
"""Beginning of the name that an own column gets whose own name is taken."""
SIDECAR_SCHEMA = pyarrow.schema(
    [
        ("key", pyarrow.string()),
        ("uid", pyarrow.string()),
        ("url", pyarrow.string()),
        ("sha256", pyarrow.string()),
        ("org_caption", pyarrow.string()),
        (RECAPTION_COLUMN, pyarrow.string()),
        ("re_length", pyarrow.int64()),
        ("org_length", pyarrow.int64()),
        ("re_clip_score", pyarrow.float64()),
        ("org_clip_score", pyarrow.float64()),
        ("status", pyarrow.string()),
        ("error_message", pyarrow.string()),
        ("finish_reason", pyarrow.string()),
        ("num_tokens", pyarrow.int64()),
        ("mean_logprob", pyarrow.float64()),
        ("flags", pyarrow.list_(pyarrow.string())),
        ("attempts", pyarrow.int64()),
        ("prompt_id", pyarrow.string()),
        ("captioner_id", pyarrow.string()),
        (CLEAN_COLUMN, pyarrow.string()),
        ("repairs", pyarrow.list_(pyarrow.string())),
        ("first_caption", pyarrow.string()),
    ]
)
"""Columns of every sidecar; lengths are in words, a score that was not computed is null. `repairs` tells of each asking
of a row that was asked again, `first_caption` what was said first where another caption stands. Further captions
follow, then the users' own columns."""


_FURTHER = (FURTHER_CAPTION_PREFIX, CLEAN_PREFIX)


def sidecar_table(
    rows: Sequence[Mapping[str, object]], own_types: Mapping[str, pyarrow.DataType], where: Path
) -> pyarrow.Table:
    """Return rows as a table; what a row leaves out is null, but lengths are counted and the status is "success".

    Own columns of a declared type have it whatever the rows hold; others the type of their values, or JSON texts where
    those have none in common.

    Raises UserError for a column that is neither ours nor a further caption, and for own columns of one name.
    """
    further = _further_captions(rows, where)
    schema = pyarrow.schema([*SIDECAR_SCHEMA, *((name, pyarrow.string()) for name in further)])
    table = pyarrow.Table.from_pylist([_completed(row) for row in rows], schema=schema)
    for name, values, kind in _own_columns(rows, own_types, where):
        table = table.append_column(name, _array(values, kind))
    return table


def clean_column(column: str) -> str:
    """Return the column of a caption column's cleaned captions."""
    return CLEAN_COLUMN + column.removeprefix(RECAPTION_COLUMN)


def own_column_name(name: str) -> str:
    """Return the name that an own column has in a sidecar: `input_<name>` where ours has that name."""
    taken = name in SIDECAR_SCHEMA.names or name.startswith(_FURTHER)
    return f"{OWN_PREFIX}{name}" if taken else name


def _further_captions(rows: Iterable[Mapping[str, object]], where: Path) -> list[str]:
    known = {*SIDECAR_SCHEMA.names, OWN_COLUMNS}
    others = dict.fromkeys(column for row in rows for column in row if column not in known)
    unknown = sorted(column for column in others if not column.startswith(_FURTHER))
    if unknown:
        wanted = f"some of {', '.join(SIDECAR_SCHEMA.names)}"
        raise UserError("unknown sidecar columns", where=where, found=unknown, wanted=wanted)
    return list(others)


def _own_columns(
    rows: Sequence[Mapping[str, object]], types: Mapping[str, pyarrow.DataType], where: Path
) -> list[tuple[str, list[object], pyarrow.DataType | None]]:
    own: list[Mapping[str, Any]] = [row.get(OWN_COLUMNS) or {} for row in rows]  # type: ignore[misc]
    names = dict.fromkeys([*types, *(name for columns in own for name in columns)])
    renamed: dict[str, str] = {}
    for name in names:
        new = own_column_name(name)
        if new in renamed:
            found = f"{renamed[new]} and {name}, both {new} in the sidecar"
            raise UserError("own columns clash", where=where, found=found, wanted="names apart", fix="Rename one")
        renamed[new] = name
    return [(new, [columns.get(name) for columns in own], types.get(name)) for new, name in renamed.items()]


def _array(values: list[object], kind: pyarrow.DataType | None) -> pyarrow.Array:
    for wanted in (kind, None):
        try:
            return pyarrow.array(values, type=wanted)
        except (pyarrow.ArrowException, OverflowError):
            continue
    texts = [value if value is None or isinstance(value, str) else json.dumps(value, default=str) for value in values]
    return pyarrow.array(texts, pyarrow.string())


def _completed(row: Mapping[str, object]) -> dict[str, object]:
    completed: dict[str, object] = {**dict.fromkeys(SIDECAR_SCHEMA.names), "status": "success", **row}
    for length, caption in (("re_length", RECAPTION_COLUMN), ("org_length", "org_caption")):
        text = completed[caption]
        if completed[length] is None and text is not None:
            completed[length] = len(str(text).split())
    return completed
