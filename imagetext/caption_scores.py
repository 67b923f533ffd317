"""Scores of a picture's captions, out of the sidecars that this project's captioning writes."""

import math
from pathlib import Path
from typing import Any

from imagetext import files
from imagetext.parquet import read_table
from imagetext.samples import CaptionScores
from runtime.errors import UserError

RECAPTION_SCORE, ORIGINAL_SCORE = "re_clip_score", "org_clip_score"
_FIX = "Score the captions: python -m recaption run with --clip_score.model, or mix without score_share"


def read_scores(folder: str | Path, shard_name: str) -> dict[str, CaptionScores]:
    """Return a shard's scores by key; rows that lack one of the two have none.

    Raises:
        UserError: naming file and column, where a column is not there, holds nothing but nulls or nothing but zeros
            (as the published ones do, which nobody computed), or something that is no number.
    """
    where = files.join(folder, f"{shard_name}.parquet")
    table = read_table(where)
    for name in (RECAPTION_SCORE, ORIGINAL_SCORE):
        if name not in table.column_names:
            found = ", ".join(table.column_names)
            raise UserError(f"parquet has no column {name}", where=where, found=found, wanted=name, fix=_FIX)
    keys = table.column("key").to_pylist()
    columns = [_checked(table, name, where) for name in (RECAPTION_SCORE, ORIGINAL_SCORE)]
    return {key: CaptionScores(*pair) for key, *pair in zip(keys, *columns, strict=True) if None not in pair}


def _checked(table: Any, name: str, where: str) -> list[float | None]:
    values = table.column(name).to_pylist()
    numbers = [value for value in values if value is not None]
    wanted = "cosines that were computed"
    if values and not numbers:
        found = f"null in all {len(values)} rows"
        raise UserError(f"column {name} holds no scores", where=where, found=found, wanted=wanted, fix=_FIX)
    if numbers and not any(numbers):
        found = f"0.0 in all {len(numbers)} rows that have one, as in the published files, where nothing was scored"
        raise UserError(f"column {name} holds no scores", where=where, found=found, wanted=wanted, fix=_FIX)
    for value in numbers:
        if not isinstance(value, float) or not math.isfinite(value):
            raise UserError(f"column {name} holds no score", where=where, found=value, wanted=wanted, fix=_FIX)
    return values
