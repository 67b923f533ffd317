"""Tables: the paper's numbers as printed in it, ours only under one protocol."""

import csv
import re
from pathlib import Path

import pytest

from eval import paper_numbers as paper
from eval.outcomes import mean_of
from eval.registry import Experiments, RunEntry, load_experiments
from eval.results import Results, read_results
from eval.suite import Subject, measure, run_suite
from eval.tables import formats
from eval.tables.cells import Column, format_interval
from eval.tables.clip_tables import MIX_SHARE, PAPER_NAMES, mixing_arm, table_3, table_4, table_6
from eval.tables.dit_tables import dit_arm, judges_table, table_7
from eval.tables.missing_table import missing_table
from eval.tables.table import Table
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


CELLS = Table(
    title="Table 9. A & B",
    headers=("arm", "x %", "seeds"),
    rows=(("p = 0.8", "12.3 [10.0,\u00a020.0]", "2"), ("a_b", "–", "not run in this preset")),
    notes=("50 % of {all}",),
)


def test_one_table_is_markdown_latex_and_csv_with_the_same_cells() -> None:
    assert "| p = 0.8 | 12.3 [10.0," in CELLS.markdown()
    lines = formats.latex(CELLS).splitlines()
    assert r"\caption{Table 9. A \& B}" in lines and r"\begin{tabular}{lrr}" in lines
    assert r"p = 0.8 & 12.3 [10.0,~20.0] & 2 \\" in lines and r"a\_b & -- & not run in this preset \\" in lines
    assert r"\end{tabular}}" in lines and r"\par\footnotesize 50 \% of \{all\}" in lines
    assert list(csv.reader(formats.comma_separated(CELLS).splitlines())) == [
        ["arm", "x %", "x % low", "x % high", "seeds"],
        ["p = 0.8", "12.3", "10.0", "20.0", "2"],
        ["a_b", "–", "", "", "not run in this preset"],
    ]
    assert formats.file_name(CELLS) == "table_9_a_b"


@pytest.mark.parametrize("build", [table_3, table_4, table_6, table_7])
def test_latex_of_every_table_balances_its_braces(build) -> None:
    text = re.sub(r"\\[{}]", "", formats.latex(build(NOTHING, NO_RUNS)))
    assert text.count("{") == text.count("}")
    widths = {line.count(" & ") for line in text.splitlines() if line.endswith(r" \\")}
    assert len(widths) == 1


def test_missing_runs_are_listed_with_the_command_that_fills_them(tmp_path: Path) -> None:
    results = two_protocols(tmp_path)
    (tmp_path / "clip" / "trained").mkdir(parents=True)
    (tmp_path / "clip" / "trained" / "done.json").write_text("{}")
    names = (("clip", "m-s0"), ("clip", "trained"), ("dit", "b"), ("recaption", "web"))
    runs = tuple(RunEntry(name=name, stage=stage) for stage, name in names)
    table = missing_table(tmp_path, results, Experiments(preset="mini", runs=runs))
    assert table.rows == (
        ("clip/trained", "trained, not measured", "make eval PRESET=mini"),
        ("dit/b", "not trained", "make dit eval PRESET=mini"),
    )
    whole = missing_table(tmp_path, results, Experiments(preset="mini", runs=runs[:1]))
    assert not whole.rows and whole.notes[0].startswith("None: every run")


def test_mini_full_declares_every_row_of_the_papers_tables() -> None:
    """What the note below missing runs promises."""
    experiments = load_experiments(Path("configs/experiments/mini_full.yaml"))
    for share in paper.TABLE_3:
        assert share == "concat" or mixing_arm(experiments, "b_base", float(share)), share
    assert experiments.select(stage="clip", recipe="concat")
    for vision, text, recaptioned in paper.TABLE_4:
        assert mixing_arm(experiments, PAPER_NAMES[vision, text], MIX_SHARE if recaptioned else 1.0), (vision, text)
    assert all(mixing_arm(experiments, "b_large", float(share)) for share in paper.TABLE_5)
    assert all(dit_arm(experiments, "b", float(share)) for share in paper.TABLE_7)


def test_what_the_papers_text_says_of_table_3_stands_beside_what_the_table_shows() -> None:
    note = table_3(NOTHING, NO_RUNS).notes[-1]
    assert "p = 0.5 5 (its table: 3.8)" in note
    assert "p = 0.9 3.5 (its table: 2.8)" in note and "its table has p = 0.4 (4.5)" in note
