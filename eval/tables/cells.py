"""Cells: an arm's value of a metric over its seeds, with its interval, formatted."""

from collections.abc import Sequence

from eval.bootstrap import Term, contrast_interval
from eval.registry import RunEntry
from eval.results import Results
from eval.tables.table import NOT_RUN, NOTHING
from runtime.intervals import Interval

PERCENT = 100.0


def arm_interval(
    results: Results, runs: Sequence[RunEntry], metrics: Sequence[str], replicates: int
) -> tuple[Interval, int] | None:
    """Estimate the mean over metrics and measured seeds; return it with the number of seeds, None where not run.

    Raises UserError (from the bootstrap) when seeds were tested on different items.
    """
    measured = [run for run in runs if all(results.row(run.qualified_name, metric) for metric in metrics)]
    if not measured:
        return None
    if len(measured) == 1 and len(metrics) == 1:
        row = results.row(measured[0].qualified_name, metrics[0])
        assert row is not None, "measured"
        return Interval(row.value, row.low, row.high), 1
    term = Term(1.0, {run.seed: results.outcomes(run.qualified_name) for run in measured}, tuple(metrics))
    return contrast_interval([term], replicates=replicates), len(measured)


class Column:
    """One column of a table: a metric under one protocol.

    The first cell decides the protocol; a run measured under another one is named instead of printed.
    """

    def __init__(
        self, results: Results, metric: str, *, scale: float = PERCENT, digits: int = 1, replicates: int = 1000
    ) -> None:
        """Start an empty column."""
        self.results, self.metric, self.scale, self.digits, self.replicates = results, metric, scale, digits, replicates
        self.protocol: str | None = None
        self._measured_as: str | None = None

    def cell(self, runs: Sequence[RunEntry]) -> str:
        """Format an arm's value, or say that there is none, or that it was measured by another protocol."""
        rows = [row for run in runs if (row := self.results.row(run.qualified_name, self.metric)) is not None]
        if not rows:
            return NOTHING
        if self._measured_as is None:
            first = min(rows, key=lambda row: row.measured_as)
            self.protocol, self._measured_as = first.protocol, first.measured_as
        if {row.measured_as for row in rows} != {self._measured_as}:
            return "another protocol"
        found = arm_interval(self.results, runs, [self.metric], self.replicates)
        assert found is not None, "a protocol was found, so a row exists"
        return format_interval(found[0], self.scale, self.digits)


def row_cell(results: Results, run: str, metric: str, scale: float = PERCENT) -> str:
    """Format a single row's value, or say that there is none."""
    row = results.row(run, metric)
    return NOTHING if row is None else format_interval(Interval(row.value, row.low, row.high), scale)


def format_interval(interval: Interval, scale: float = PERCENT, digits: int = 1) -> str:
    """Write `value [low, high]`; an interval without width is written as the value alone."""
    value, low, high = (f"{part * scale:.{digits}f}" for part in (interval.value, interval.low, interval.high))
    # A no-break space keeps the interval whole where a narrow table sets it below its estimate.
    return value if low == high == value else f"{value} [{low},\u00a0{high}]"


def seeds_cell(results: Results, runs: Sequence[RunEntry], metric: str) -> str:
    """Count an arm's measured training seeds, or say that the preset has none."""
    count = sum(results.row(run.qualified_name, metric) is not None for run in runs)
    return str(count) if count else NOT_RUN
