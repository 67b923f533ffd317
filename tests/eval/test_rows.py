"""Rows: what each carries, how they are appended, and which may stand in one column."""

import json
import multiprocessing
from dataclasses import replace
from pathlib import Path

import pytest

from eval.outcomes import mean_of
from eval.rows import Row, append_rows, latest_rows, read_rows
from eval.suite import Subject, measure, run_suite
from runtime import provenance
from runtime.errors import UserError

ROW = Row(
    suite="clip",
    metric="set/acc",
    value=0.5,
    count=2,
    low=0.4,
    high=0.6,
    protocol="p",
    run="clip/a",
    seed=None,
    checkpoint_sha256="c",
    data_fingerprint="d",
    manifest={"split": "test", "num_images": 2, "context_length_tokens": 77},
    commit="abc",
)


def append_many(path: Path, run: str) -> None:
    for number in range(30):
        append_rows(path, [replace(ROW, run=run, metric=f"set/{number}-{part}") for part in range(3)])


def test_two_processes_append_to_one_file_of_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=append_many, args=(path, run)) for run in ("clip/a", "clip/b")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    rows = read_rows(path)
    assert len(rows) == len({(row.run, row.metric) for row in rows}) == 180
    assert rows[0].manifest == ROW.manifest and rows[0].seed is None


def test_of_equal_rows_the_last_one_counts(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    append_rows(path, [ROW, replace(ROW, suite="clip_benchmark")])
    append_rows(path, [replace(ROW, value=0.7)])
    assert [(row.suite, row.value) for row in latest_rows(read_rows(path))] == [("clip", 0.7), ("clip_benchmark", 0.5)]


def test_facts_of_the_data_part_columns_and_facts_of_the_model_do_not() -> None:
    longer = replace(ROW, manifest={**ROW.manifest, "context_length_tokens": 248})
    other = replace(ROW, manifest={**ROW.manifest, "num_images": 3})
    assert ROW.measured_as == longer.measured_as != other.measured_as


def test_a_manifest_that_is_none_is_refused_by_line(tmp_path: Path) -> None:
    record = {**vars(ROW), "manifest": "all of it"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(record) + "\n")
    with pytest.raises(UserError, match=r"rows\.jsonl:1: wrong manifest: found all of it"):
        read_rows(tmp_path / "rows.jsonl")


def test_rows_of_older_versions_are_read(tmp_path: Path) -> None:
    record = {key: value for key, value in vars(ROW).items() if key not in ("manifest", "commit")}
    (tmp_path / "rows.jsonl").write_text(json.dumps(record) + "\n")
    (row,) = read_rows(tmp_path / "rows.jsonl")
    assert row.commit is None and row.manifest == {}


def test_every_suites_rows_say_their_items_and_commit_and_reach_the_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance, "source_commit", lambda: "1234")
    subject = Subject(run="clip/a", seed=None, checkpoint_sha256="c", data_fingerprint="d")
    found = [measure(f"set/{name}", mean_of(items), "p", 20) for name, items in (("x", {"a": 1.0}), ("y", {"b": 1.0}))]
    ledger = tmp_path / "rows.jsonl"
    run_suite(tmp_path / "eval", subject, "", lambda: found, suite="clip", ledger=ledger)
    rows = read_rows(ledger)
    assert rows == read_rows(tmp_path / "eval" / "rows.jsonl")
    assert [(row.suite, row.commit, row.manifest["dataset"]) for row in rows] == [("clip", "1234", "set")] * 2
    assert rows[0].manifest["items_sha256"] != rows[1].manifest["items_sha256"]
