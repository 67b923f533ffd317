"""Measure a run: draw sidecars, count words in them, score some rows."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from imagetext.parquet import rows_of
from imagetext.sidecars import read_mark, read_sidecar_table
from recaption.inputs.units import SUCCESS
from recaption.job.reopening import finished_of, input_of
from recaption.sampling import finished_units, sample_captioned
from recaption.statistics.config import StatisticsConfig
from recaption.statistics.counting import CaptionCounter, WordStatistics, group_of, summarise
from recaption.statistics.pair_scores import PairScores, score_pairs
from runtime import seeds
from runtime.errors import UserError
from runtime.progress import Progress

OLD_COLUMN = "org_caption"
RECORDED = "recorded in the sidecars"
RECORDED_SCALE = 100.0
"""Scale at which recorded cosines are compared: the one that CLIPs end up at, since theirs is not recorded."""


@dataclass(frozen=True, kw_only=True)
class RunStatistics:
    """What was found, and of how much."""

    num_units_finished: int
    num_units_read: int
    num_rows: int
    """Rows read, those without a caption included."""
    num_pairs: int
    """Rows with both an old and a new caption; only these are compared."""
    old: WordStatistics
    new: WordStatistics
    scores: Mapping[str, PairScores]
    """By the scorer's name."""


def measure(config: StatisticsConfig) -> RunStatistics:
    """Return the statistics of a run's captions.

    Raises UserError for a folder without finished captions, a column that is not there, rows of which none has both
    captions, and for pictures that can't be found where scorers want them.
    """
    finished = finished_of(config.recaptions)
    old, new, recorded = CaptionCounter(), CaptionCounter(), _Recorded()
    num_rows, num_units = 0, 0
    with Progress(total=_rows_to_read(config, finished), unit="rows", label="statistics") as progress:
        for table in _sidecars(config, finished):
            num_units += 1
            for row in table[: config.rows_max - num_rows]:
                num_rows += 1
                _count(row, config.column, old, new, recorded)
            progress.advance(len(table))
            if num_rows >= config.rows_max:
                break
    if not new.lengths:
        wanted = f"rows with both {OLD_COLUMN} and {config.column}"
        raise UserError("nothing to compare", where=config.recaptions, found=f"none of {num_rows} rows", wanted=wanted)
    words = summarise(old, new)
    return RunStatistics(
        num_units_finished=len(finished),
        num_units_read=num_units,
        num_rows=num_rows,
        num_pairs=len(new.lengths),
        old=words[0],
        new=words[1],
        scores={**recorded.scores(), **_scores(config, finished)},
    )


class _Recorded:
    """Scores that the sidecars hold already."""

    def __init__(self) -> None:
        self._pairs: list[tuple[float, float]] = []

    def add(self, row: Mapping[str, Any], column: str) -> None:
        pair = row.get("org_clip_score"), row.get("re_clip_score")
        if column == "re_caption" and None not in pair:
            self._pairs.append(pair)  # type: ignore[arg-type]

    def scores(self) -> dict[str, PairScores]:
        values = np.array(self._pairs, dtype=np.float64)
        # Published scores may be on any scale; what leaves [-1, 1] is no cosine.
        if len(values) < 2 or np.abs(values).max() > 1.0:
            return {}
        return {RECORDED: score_pairs(values[:, 0], values[:, 1], RECORDED_SCALE)}


def _sidecars(config: StatisticsConfig, finished: list[str]) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of sidecars in an order of draws, so that any number of them is spread over the run."""
    where = config.recaptions
    for name in sorted(finished, key=lambda name: seeds.derive(config.seed, "sidecars", name)):
        rows = rows_of(read_sidecar_table(where, name))
        if rows and config.column not in rows[0]:
            wanted = f"one of {', '.join(rows[0])}"
            raise UserError("sidecar has no such column", where=where, found=config.column, wanted=wanted)
        yield rows


def _count(row: Mapping[str, Any], column: str, old: CaptionCounter, new: CaptionCounter, recorded: _Recorded) -> None:
    before, after = (str(row[name] or "") for name in (OLD_COLUMN, column))
    if row["status"] != SUCCESS or not before.strip() or not after.strip():
        return
    group = group_of(str(row["key"]))
    old.add(before, group)
    new.add(after, group)
    recorded.add(row, column)


def _rows_to_read(config: StatisticsConfig, finished: list[str]) -> int:
    """Return about how many rows will be read, judged by one of the sidecars."""
    return min(config.rows_max, len(finished) * int(read_mark(config.recaptions, finished[0])["count"]))


def _scores(config: StatisticsConfig, finished: list[str]) -> dict[str, PairScores]:
    if not config.scorers:
        return {}
    from recaption.statistics.scoring import score_rows

    units = finished_units(config.recaptions, input_of(config.recaptions, config.input), finished)
    columns = (OLD_COLUMN, config.column)
    rows = list(sample_captioned(config.recaptions, units, config.scored_rows, config.seed, columns=columns))
    if len(rows) < 2:
        raise UserError("too few rows to score", where=config.recaptions, found=len(rows), wanted="2 or more")
    return score_rows(rows, config.column, config.scorers, batch_size=config.batch_size, device=config.device)
