"""Rows, suite folders and their completion mark; collecting results."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from eval.outcomes import mean_of
from eval.results import collect, read_results
from eval.rows import Row, read_rows, write_rows
from eval.suite import Measurement, Subject, data_fingerprint, measure, run_suite, weights_sha256
from runtime.errors import UserError
from runtime.intervals import Interval

SUBJECT = Subject(run="clip/b-s0", seed=0, checkpoint_sha256="c" * 64, data_fingerprint="d" * 64)


def measurements() -> list[Measurement]:
    return [measure("set/accuracy", mean_of({"a": 1.0, "b": 0.0}), "protocol 1", replicates=20)]


def test_rows_round_trip_with_missing_intervals(tmp_path: Path) -> None:
    row = Row(
        suite="clip",
        metric="set/accuracy",
        value=0.5,
        count=2,
        low=math.nan,
        high=math.nan,
        protocol="p",
        **vars(SUBJECT),
    )
    write_rows(tmp_path / "rows.jsonl", [row])
    (back,) = read_rows(tmp_path / "rows.jsonl")
    assert math.isnan(back.low) and replace(back, low=0.0, high=0.0) == replace(row, low=0.0, high=0.0)


@pytest.mark.parametrize(("line", "message"), [("{", "not a JSON line"), ('{"suite": "x"}', "a row's fields differ")])
def test_malformed_rows_are_named_by_line(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "rows.jsonl").write_text(line + "\n")
    with pytest.raises(UserError, match=rf"rows\.jsonl:1: {message}"):
        read_rows(tmp_path / "rows.jsonl")


def test_a_finished_suite_is_skipped_and_one_of_other_weights_is_measured_again(tmp_path: Path, capsys) -> None:
    folder = tmp_path / "eval" / "clip" / "b-s0" / "clip"
    assert run_suite(folder, SUBJECT, "settings", measurements)
    assert not run_suite(folder, SUBJECT, "settings", lambda: pytest.fail("measured twice"))
    assert run_suite(folder, replace(SUBJECT, checkpoint_sha256="e" * 64), "settings", measurements)
    assert "measured again, since checkpoint_sha256 changed" in capsys.readouterr().out
    assert run_suite(folder, replace(SUBJECT, checkpoint_sha256="e" * 64), "other settings", measurements)


def test_an_interrupted_suite_leaves_no_mark_and_is_not_collected(tmp_path: Path) -> None:
    def interrupted():
        yield measurements()[0]
        raise KeyboardInterrupt

    folder = tmp_path / "eval" / "clip" / "b-s0" / "clip"
    with pytest.raises(KeyboardInterrupt):
        run_suite(folder, SUBJECT, "settings", interrupted)
    assert not (folder / "done.json").exists()
    assert not read_results(tmp_path).rows
    assert run_suite(folder, SUBJECT, "settings", measurements)
    assert read_results(tmp_path).row("clip/b-s0", "set/accuracy").value == 0.5


def test_collect_merges_suites_in_a_fixed_order(tmp_path: Path) -> None:
    for name in ("b-s1", "b-s0"):
        subject = replace(SUBJECT, run=f"clip/{name}")
        run_suite(tmp_path / "eval" / "clip" / name / "clip", subject, "settings", measurements)
    rows = read_rows(collect(tmp_path))
    assert [row.run for row in rows] == ["clip/b-s0", "clip/b-s1"]
    first = (tmp_path / "results.jsonl").read_bytes()
    assert collect(tmp_path).read_bytes() == first


def test_one_number_measured_twice_is_refused(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        run_suite(tmp_path / "eval" / folder / "clip", SUBJECT, "settings", measurements)
    with pytest.raises(UserError, match="one run and metric measured twice"):
        read_results(tmp_path)


def test_missing_weights_and_data_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no exported weights"):
        weights_sha256(tmp_path)
    with pytest.raises(UserError, match=r"manifest\.json: no manifest"):
        data_fingerprint(tmp_path)


def test_weights_are_hashed_with_their_names(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"1")
    first = weights_sha256(tmp_path)
    (tmp_path / "a.safetensors").rename(tmp_path / "b.safetensors")
    assert weights_sha256(tmp_path) != first


def test_measurements_without_items_are_rows_too(tmp_path: Path) -> None:
    bare = Measurement(metric="set/share", protocol="p", count=3, interval=Interval(0.1, 0.0, 0.2))
    run_suite(tmp_path / "eval" / "x" / "captions", SUBJECT, "settings", lambda: [bare])
    results = read_results(tmp_path)
    assert results.row("clip/b-s0", "set/share").high == 0.2
    assert "set/share" not in results.outcomes("clip/b-s0")
