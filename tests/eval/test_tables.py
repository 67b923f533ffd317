"""Tables: the paper's numbers as printed in it, ours only under one protocol."""

from pathlib import Path

import pytest

from eval import paper_numbers as paper
from eval.outcomes import mean_of
from eval.registry import Experiments, RunEntry
from eval.results import Results, read_results
from eval.suite import Subject, measure, run_suite
from eval.tables.cells import Column, format_interval
from eval.tables.clip_tables import table_3, table_4, table_6
from eval.tables.dit_tables import judges_table, table_7
from runtime.intervals import Interval

NOTHING = Results({}, {})
NO_RUNS = Experiments(preset="mini", runs=())


def test_the_papers_numbers_agree_with_its_own_derived_ones() -> None:
    """Mean R@1 and gains over p = 1 as derived from Table 3; -8.4 FID and +1.1 of Table 7."""
    means = {share: sum(numbers[1:]) / 4 for share, numbers in paper.TABLE_3.items()}
    assert means["0.8"] - means["1.0"] == pytest.approx(3.4, abs=0.005)
    assert means["0.4"] == pytest.approx(65.05) and means["concat"] == pytest.approx(57.5)
    assert paper.TABLE_7["1.00"][2] - paper.TABLE_7["0.00"][2] == pytest.approx(8.4)
    assert paper.TABLE_4["B/16", "base", True] == paper.TABLE_3["0.8"]
    assert paper.TABLE_4["B/16", "base", False] == paper.TABLE_3["1.0"]
    assert paper.TABLE_5["0.8"] == paper.TABLE_4["B/16", "large", True]
    assert [len(table) for table in (paper.TABLE_3, paper.TABLE_4, paper.TABLE_5, paper.TABLE_6, paper.TABLE_7)] == [
        12, 9, 4, 6, 8,
    ]  # fmt: skip


@pytest.mark.parametrize("build", [table_3, table_4, table_6, table_7])
def test_missing_runs_are_said_to_be_missing(build) -> None:
    table = build(NOTHING, NO_RUNS)
    assert sum("not run in this preset" in row for row in table.rows) >= 4
    assert all(len(row) == len(table.headers) for row in table.rows)


def test_other_peoples_models_are_not_called_missing() -> None:
    rows = {row[0]: row for row in table_6(NOTHING, NO_RUNS).rows}
    assert rows["OpenAI CLIP-B/16"][1] == "–"


def test_the_control_that_the_paper_lacks_is_a_row() -> None:
    (control,) = [row for row in table_4(NOTHING, NO_RUNS).rows if "control" in row[0]]
    assert set(control[2:]) == {"–"}


def test_judges_without_results_still_have_a_table() -> None:
    assert len(judges_table(NOTHING).rows) == 19


def two_protocols(root: Path) -> Results:
    for seed, protocol in enumerate(("500 images", "400 images")):
        subject = Subject(run=f"clip/m-s{seed}", seed=seed, checkpoint_sha256="", data_fingerprint="")
        found = [measure("set/accuracy", mean_of({"a": 1.0, "b": 0.0}), protocol, replicates=20)]
        run_suite(root / "eval" / f"m-s{seed}", subject, "", lambda found=found: found)
    return read_results(root)


def test_unlike_protocols_never_share_a_column(tmp_path: Path) -> None:
    results = two_protocols(tmp_path)
    first, second = (RunEntry(name=f"m-s{seed}", stage="clip", seed=seed) for seed in (0, 1))
    column = Column(results, "set/accuracy")
    assert column.cell([first]).startswith("50.0")
    assert column.cell([second]) == "another protocol"
    assert Column(results, "set/accuracy").cell([first, second]) == "another protocol"
    assert column.cell([]) == "–"


def test_intervals_are_formatted_in_percent() -> None:
    assert format_interval(Interval(0.1234, 0.1, 0.2)) == "12.3 [10.0,\u00a020.0]"
    assert format_interval(Interval(1.0, 1.0, 1.0)) == "100.0"
