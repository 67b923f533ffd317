"""How fast a job goes once it is going, from when its units were finished."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recaption.job.marks import UnitMark
from runtime.errors import UserError
from runtime.intervals import Interval, ratio_interval

BLOCKS_MIN = 3
TOO_FEW = "too few rows to calibrate on"
FIX = "Raise calibration_rows, lower batch_size, or caption so small an input without a plan"


@dataclass(frozen=True, kw_only=True)
class Block:
    """Rows that were finished in a stretch of time."""

    num_rows: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How fast a job goes, all workers together."""

    seconds_per_row: Interval
    warming_seconds: float
    """What the first rows took beyond that."""


def steady_pace(marks: Sequence[UnitMark], *, warming_rows: int, draining_rows: int) -> Pace:
    """Return the pace between the start and the end of a job; raises UserError as `steady_blocks` does."""
    blocks = steady_blocks(marks, warming_rows=warming_rows, draining_rows=draining_rows)
    each = seconds_per_row(blocks)
    ordered = sorted(marks, key=lambda mark: mark.finished_at)
    began = min(mark.finished_at - mark.wall_seconds for mark in ordered)
    passed = 0
    for mark in ordered:
        passed += mark.num_rows
        if passed >= warming_rows:
            return Pace(seconds_per_row=each, warming_seconds=max(0.0, mark.finished_at - began - passed * each.value))
    raise AssertionError("there are blocks after the warming")


def steady_blocks(marks: Sequence[UnitMark], *, warming_rows: int, draining_rows: int) -> list[Block]:
    """Return the stretches between one unit's end and the next one's, once going and before the work runs out.

    The first `warming_rows` are left out, since graphs are compiled and pipelines filled while they pass, and the last
    `draining_rows`, when there is less left than fits in. Units that end together are one block. Raises UserError
    where fewer than three blocks are left.
    """
    ends: dict[float, int] = {}
    for mark in sorted(marks, key=lambda mark: mark.finished_at):
        ends[mark.finished_at] = ends.get(mark.finished_at, 0) + mark.num_rows
    total, passed, since = sum(ends.values()), 0, None
    blocks: list[Block] = []
    for end, num_rows in ends.items():
        passed += num_rows
        if passed > total - draining_rows:
            break
        if since is not None:
            blocks.append(Block(num_rows=num_rows, seconds=end - since))
        if since is not None or passed >= warming_rows:
            since = end
    if len(blocks) < BLOCKS_MIN:
        found = f"{total} rows, {len(blocks)} stretches of steady work"
        raise UserError(TOO_FEW, found=found, wanted=f"{BLOCKS_MIN} stretches", fix=FIX)
    return blocks


def refuse_too_few(num_rows: int, rows_min: int) -> None:
    """Raise UserError where so few rows were drawn that no pace could be told, before any of them is captioned."""
    if num_rows < rows_min:
        raise UserError(TOO_FEW, found=f"{num_rows} rows", wanted=f"{rows_min} at least", fix=FIX)


def seconds_per_row(blocks: Sequence[Block]) -> Interval:
    """Return the seconds that a row takes, all workers together."""
    seconds = np.array([block.seconds for block in blocks])
    return ratio_interval(seconds, np.array([float(block.num_rows) for block in blocks]))
