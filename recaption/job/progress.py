"""How far a job is and how fast it goes, from its marks alone.

The time worked on a job is the union of the times in which its units were worked on: pauses between two starts do not
count, and units side by side count once. Each machine's clock dates its own marks; what is dated ahead of the reader's
clock counts as finished now, so that one clock that runs ahead leaves the others' work in the present rate.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from recaption.job.marks import UnitMark

RECENT_SECONDS = 900.0
"""How far back of the last finished unit the present rate looks."""
NUM_SLOWEST = 5

Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Totals:
    """What the marks of finished units say together."""

    num_units: int
    num_rows: int
    statuses: Mapping[str, int]
    """Rows by status, in order of their names."""
    reasons: Mapping[str, int]
    """Rows without a caption by status and reason, the commonest first."""
    active_seconds: float
    """Time in which at least one unit was worked on."""
    recent_rows_per_second: float
    """Rate over the last quarter of an hour that was worked; 0 where nothing was done."""
    recent_units_per_second: float
    last_finished_at: float | None
    """When the last unit was finished, in seconds since 1970."""
    seconds_ahead: float
    """How far the marks' clocks run ahead of the reader's at most."""
    slowest: Sequence[UnitMark]
    """Units with the most seconds a row, the slowest first."""

    @property
    def rows_per_second(self) -> float:
        """Return the rate over all the time worked."""
        return self.num_rows / self.active_seconds if self.active_seconds > 0 else 0.0

    def seconds_left(self, num_units_left: int) -> float | None:
        """Return how long as many units take at the present rate; None before the first is finished."""
        if num_units_left <= 0:
            return 0.0
        return num_units_left / self.recent_units_per_second if self.recent_units_per_second > 0 else None


def summarise(marks: Iterable[UnitMark], *, now: float) -> Totals:
    """Return what some finished units come to; `now` is the reader's clock, in seconds since 1970."""
    statuses: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    known: list[UnitMark] = []
    ahead = 0.0
    for mark in marks:
        statuses.update(mark.statuses)
        reasons.update(mark.reasons)
        ahead = max(ahead, mark.finished_at - now)
        known.append(mark if mark.finished_at <= now else replace(mark, finished_at=now))
    last = max((mark.finished_at for mark in known), default=None)
    recent = [] if last is None else [mark for mark in known if mark.finished_at > last - RECENT_SECONDS]
    recent_seconds = covered_seconds([_worked(mark) for mark in recent])
    return Totals(
        num_units=len(known),
        num_rows=sum(mark.num_rows for mark in known),
        statuses=dict(sorted(statuses.items())),
        reasons=dict(reasons.most_common()),
        active_seconds=covered_seconds([_worked(mark) for mark in known]),
        recent_rows_per_second=_rate(sum(mark.num_rows for mark in recent), recent_seconds),
        recent_units_per_second=_rate(len(recent), recent_seconds),
        last_finished_at=last,
        seconds_ahead=ahead,
        slowest=sorted(known, key=_seconds_a_row, reverse=True)[:NUM_SLOWEST],
    )


def covered_seconds(intervals: Iterable[Interval]) -> float:
    """Return the length of the union of intervals."""
    covered, end = 0.0, float("-inf")
    for start, stop in sorted(intervals):
        covered += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return covered


def _worked(mark: UnitMark) -> Interval:
    return mark.finished_at - mark.wall_seconds, mark.finished_at


def _rate(count: int, seconds: float) -> float:
    return count / seconds if seconds > 0 else 0.0


def _seconds_a_row(mark: UnitMark) -> float:
    return mark.wall_seconds / max(1, mark.num_rows)
