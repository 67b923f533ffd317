"""What `status` shows: lines for a person, an object for a program."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from recaption.inputs.units import SUCCESS
from recaption.job.marks import UnitMark
from recaption.job.progress import Totals

_REASONS_SHOWN = 8
_CLOCKS_APART_SECONDS = 60.0
"""Difference of clocks that is worth a line."""


def as_json(totals: Totals, num_units: int, *, done: bool, now: float) -> dict[str, Any]:
    """Return the state of a job as plain JSON types; times in seconds, those of clocks since 1970."""
    left = num_units - totals.num_units
    return {
        "done": done,
        "num_units": num_units,
        "num_units_done": totals.num_units,
        "num_rows_done": totals.num_rows,
        "statuses": dict(totals.statuses),
        "reasons": dict(totals.reasons),
        "rows_per_second": round(totals.rows_per_second, 3),
        "recent_rows_per_second": round(totals.recent_rows_per_second, 3),
        "active_seconds": round(totals.active_seconds, 1),
        "seconds_left": _rounded(totals.seconds_left(left)),
        "last_finished_at": totals.last_finished_at,
        "seconds_since_last": None if totals.last_finished_at is None else round(now - totals.last_finished_at, 1),
        "clock_seconds_ahead": round(totals.seconds_ahead, 1),
        "slowest": [_unit(mark) for mark in totals.slowest],
    }


def as_lines(folder: Path, totals: Totals, num_units: int, *, done: bool, now: float) -> Iterator[str]:
    """Yield the state of a job as lines; the first says it all in short."""
    state = "done" if done else "not done"
    units = f"{totals.num_units}/{num_units} units"
    yield f"{folder}: {state}, {units}, {totals.num_rows} rows ({describe_counts(totals.statuses)})"
    if totals.last_finished_at is not None:
        yield from _pace(totals, num_units - totals.num_units, now)
    for reason, count in list(totals.reasons.items())[:_REASONS_SHOWN]:
        yield f"  {count} x {reason}"
    if totals.slowest:
        shown = ", ".join(f"{m.name} ({m.num_rows} rows in {_duration(m.wall_seconds)})" for m in totals.slowest)
        yield f"  slowest: {shown}"
    if totals.seconds_ahead > _CLOCKS_APART_SECONDS:
        ahead = _duration(totals.seconds_ahead)
        yield f"  a machine's clock is {ahead} ahead of this one's: rates and times left are rough"


def describe_counts(statuses: Mapping[str, int]) -> str:
    """Return rows by status in words, captioned ones first."""
    ordered = sorted(statuses.items(), key=lambda item: (item[0] != SUCCESS, item[0]))
    return ", ".join(f"{name} {count}" for name, count in ordered) or "none yet"


def _pace(totals: Totals, num_units_left: int, now: float) -> Iterator[str]:
    assert totals.last_finished_at is not None
    rates = f"{totals.rows_per_second:.1f} rows/s in {_duration(totals.active_seconds)} of work"
    if num_units_left <= 0:
        yield f"  {rates}"
        return
    left = totals.seconds_left(num_units_left)
    ago = _duration(max(0.0, now - totals.last_finished_at))
    recent = f"lately {totals.recent_rows_per_second:.1f} rows/s"
    remaining = "unknown time" if left is None else _duration(left)
    yield f"  {rates}, {recent}: {remaining} left; the last unit was finished {ago} ago"


def _unit(mark: UnitMark) -> dict[str, Any]:
    seconds = {"wall_seconds": mark.wall_seconds, "stage_seconds": dict(mark.stage_seconds)}
    return {"name": mark.name, "num_rows": mark.num_rows, **seconds}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} days"
