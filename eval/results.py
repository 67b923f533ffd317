"""Everything measured in an experiment: rows and item outcomes of all finished suites below one folder."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from eval.outcomes import Outcome, read_outcomes
from eval.rows import Row, read_rows, write_rows
from runtime.errors import UserError


@dataclass
class Results:
    """Rows by (run, metric), and the folders that hold their items."""

    rows: Mapping[tuple[str, str], Row]
    folders: Mapping[str, list[Path]]
    """Suite folders by run."""
    _outcomes: dict[str, dict[str, Outcome]] = field(default_factory=dict)

    def row(self, run: str, metric: str) -> Row | None:
        """Give a run's row of a metric, None when it was not measured."""
        return self.rows.get((run, metric))

    def outcomes(self, run: str) -> Mapping[str, Outcome]:
        """Load a run's item outcomes by metric, once."""
        if run not in self._outcomes:
            merged: dict[str, Outcome] = {}
            for folder in self.folders.get(run, []):
                merged.update(read_outcomes(folder / "items.npz"))
            self._outcomes[run] = merged
        return self._outcomes[run]

    def protocols(self, runs: Iterable[str], metric: str) -> set[str]:
        """List how a metric of these runs was measured (`Row.measured_as`); more than one way can't be compared."""
        return {row.measured_as for run in runs if (row := self.row(run, metric)) is not None}


def read_results(root: Path) -> Results:
    """Read every finished suite below `<root>/eval`; unfinished ones (without done.json) are left out."""
    rows: dict[tuple[str, str], Row] = {}
    folders: dict[str, list[Path]] = {}
    for mark in sorted((root / "eval").rglob("done.json")):
        suite_rows = read_rows(mark.parent / "rows.jsonl") if (mark.parent / "rows.jsonl").exists() else []
        for row in suite_rows:
            if (row.run, row.metric) in rows:
                raise UserError("one run and metric measured twice", where=str(mark.parent), found=row.metric)
            rows[row.run, row.metric] = row
        for run in {row.run for row in suite_rows}:
            folders.setdefault(run, []).append(mark.parent)
    return Results(rows, folders)


def collect(root: Path) -> Path:
    """Merge the rows of all finished suites into `<root>/results.jsonl`, ordered by run, suite and metric."""
    results = read_results(root)
    ordered = sorted(results.rows.values(), key=lambda row: (row.run, row.suite, row.metric))
    path = root / "results.jsonl"
    write_rows(path, ordered)
    return path
