"""lmms-eval's files become rows of Table 1.

The files in `lmms_eval/` have the layout of lmms-eval v0.6, key by key, as a run with `--limit 8 --log_samples` leaves
them; questions and answers in them are made up. A complete run is one whose benchmarks have eight questions.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eval import __main__ as command
from eval.lmms import measurements, read_lmms
from eval.lmms_scores import mmmu_point
from eval.registry import Experiments, RunEntry
from eval.results import read_results
from eval.rows import Row, read_rows
from eval.tables.caption_tables import table_1
from runtime.errors import UserError
from tests.eval.runs import finished_run

RECORDED = Path(__file__).parent / "lmms_eval"
RESULTS = "20261120_101500_results.json"
SAMPLES = "20261120_101500_samples_{}.jsonl"
EXPORTED = "captioner/main/export"


def change(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    document = json.loads(path.read_text())
    edit(document)
    path.write_text(json.dumps(document))


@pytest.fixture
def complete(tmp_path: Path) -> Path:
    """The result file of a run that asked every question."""
    shutil.copytree(RECORDED, tmp_path / "lmms")
    path = tmp_path / "lmms" / RESULTS

    def every_question(document: dict[str, Any]) -> None:
        for counts in document["n-samples"].values():
            counts["original"] = 8

    change(path, every_question)
    return path


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run of a captioner."""
    return finished_run(tmp_path / "runs" / "captioner" / "main")


def take_over(results: Path, run: Path, *extra: str) -> list[Row]:
    output = run.parents[1] / "eval" / "captioner" / "main"
    command.main(["lmms", f"--results={results}", f"--run={run}", f"--output_dir={output}", *extra])
    return read_rows(output / "lmms" / "rows.jsonl")


def test_scores_come_with_count_interval_and_protocol(complete: Path, run: Path) -> None:
    mmmu, mmvet = take_over(complete, run)
    assert (mmmu.metric, mmmu.value, mmmu.count) == ("mmmu_val/accuracy", 5 / 8, 8)
    assert (mmvet.metric, mmvet.value, mmvet.count) == ("mmvet/gpt_score", pytest.approx(0.5625), 8)
    for row in (mmmu, mmvet):
        assert (row.suite, row.run, row.seed) == ("lmms", "captioner/main", 3)
        assert row.low < row.value < row.high and len(row.checkpoint_sha256) == 64 and row.data_fingerprint
    assert mmmu.protocol == "lmms-eval main@v0.6-248, mmmu_val, 0-shot, max_new_tokens 16; loaded as llava_hf"
    assert mmvet.protocol.endswith("temperature 0.2; loaded as llava_hf; judged by gpt-4o-mini-2024-07-18")


def test_table_1_shows_them_beside_the_papers(complete: Path, run: Path) -> None:
    take_over(complete, run)
    runs = (RunEntry(name="main", stage="captioner", seed=3),)
    table = table_1(read_results(run.parents[1]), Experiments(preset="paper", runs=runs))
    mmmu, mmvet = (table.headers.index(name) for name in ("MMMU", "MM-Vet"))
    assert table.rows[0][mmmu].startswith("62.5 [") and table.rows[0][mmvet].startswith("56.2 [")
    assert ("45.2", "37.8") in [(row[mmmu], row[mmvet]) for row in table.rows]


def test_taken_over_again_only_when_something_changed(
    complete: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    take_over(complete, run)
    take_over(complete, run)
    assert "done already" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wanted", "readings", "right"),
    [
        ("8.4", [["about 8.4 amperes", 8.4]], True),
        ("1,200", [[1200.0]], True),
        ("3.14159", [[3.14]], True),
        ("x", [["fix"]], False),
        ("x", [["it is x "]], True),
        (["one", "1"], [[1.0]], True),
        ("Paris", [["in paris"]], True),
        ("2", [["12", 12.0]], False),
    ],
)
def test_open_answers_by_the_benchmarks_rule(wanted: object, readings: list[list[object]], right: bool) -> None:
    scored = {"question_type": "open", "answer": wanted, "parsed_pred": readings}
    assert mmmu_point(scored) == float(right)


def test_a_run_with_a_limit_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"mmmu_val was measured in part: found 8 logged, 8 asked, wanted all 900 quest"
    ):
        list(measurements(read_lmms(RECORDED / RESULTS), 10))


def test_samples_of_another_run_are_refused(complete: Path) -> None:
    change(complete, lambda document: document["results"]["mmmu_val"].update({"mmmu_acc,none": 0.75}))
    with pytest.raises(UserError, match=r"another score of mmmu_val: found 0\.75, wanted 0\.62500, what the logged"):
        list(measurements(read_lmms(complete), 10))


def test_answers_that_no_judge_scored_are_refused(complete: Path) -> None:
    path = complete.with_name(SAMPLES.format("mmvet"))
    samples = [json.loads(line) for line in path.read_text().splitlines()]
    samples[2]["gpt_eval_score"]["eval_model"] = ""
    path.write_text("".join(json.dumps(sample) + "\n" for sample in samples))
    with pytest.raises(UserError, match=r"MM-Vet question v1_2: the judge scored nothing, which lmms-eval counts as 0"):
        list(measurements(read_lmms(complete), 10))


def test_missing_samples_are_named(complete: Path) -> None:
    complete.with_name(SAMPLES.format("mmmu_val")).unlink()
    with pytest.raises(UserError, match=r"samples_mmmu_val\.jsonl: no logged samples of mmmu_val.*--log_samples"):
        read_lmms(complete)


def test_a_torn_line_is_named(complete: Path) -> None:
    path = complete.with_name(SAMPLES.format("mmmu_val"))
    path.write_text(path.read_text()[:-40])
    with pytest.raises(UserError, match=r"samples_mmmu_val\.jsonl:8: file is not JSON"):
        list(measurements(read_lmms(complete), 10))


def test_other_tasks_are_no_part_of_table_1(complete: Path) -> None:
    change(complete, lambda document: document.update({"results": {"mme": {}}}))
    with pytest.raises(UserError, match=r"no task of Table 1 in it: found mme, wanted mmmu_val or mmvet"):
        read_lmms(complete)


def test_another_file_is_refused(complete: Path) -> None:
    with pytest.raises(UserError, match=r"not a result file of lmms-eval.*wanted \*_results\.json"):
        read_lmms(complete.with_name(SAMPLES.format("mmvet")))


def test_results_of_another_model_are_refused(complete: Path, run: Path) -> None:
    change(complete, lambda document: document.update({"model_name": "llava-hf/llava-1.5-7b-hf"}))
    with pytest.raises(
        UserError, match=r"another model was measured: found llava-hf/llava-1\.5-7b-hf, wanted .*export"
    ):
        take_over(complete, run)
    assert len(take_over(complete, run, "--loaded_as=llava-hf/llava-1.5-7b-hf")) == 2


def test_the_very_folder_is_told_from_a_like_named_one(complete: Path, run: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere" / EXPORTED
    elsewhere.mkdir(parents=True)
    change(complete, lambda document: document.update({"model_name": str(elsewhere)}))
    with pytest.raises(UserError, match="another model was measured"):
        take_over(complete, run)
