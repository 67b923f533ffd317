"""Rates and times left, from marks; and what `status` prints of them."""

import json
from pathlib import Path

import pytest

from recaption import verbs
from recaption.config import StatusConfig
from recaption.job.marks import UnitMark
from recaption.job.progress import covered_seconds, summarise
from recaption.job.status_page import as_json, as_lines
from runtime.errors import UserError
from tests.recaption.job.made_jobs import finished_job


def mark(name: str, finished_at: float, wall_seconds: float, num_rows: int = 100, **fields: object) -> UnitMark:
    defaults = {"statuses": {"success": num_rows}, "parquet_sha256": ""}
    return UnitMark(
        name=name,
        finished_at=float(finished_at),
        wall_seconds=float(wall_seconds),
        num_rows=num_rows,
        **{**defaults, **fields},  # type: ignore[arg-type]
    )


def test_side_by_side_counts_once_and_pauses_do_not_count() -> None:
    assert covered_seconds([(0.0, 10.0), (5.0, 12.0), (6.0, 7.0), (100.0, 103.0)]) == 15
    assert covered_seconds([]) == 0


def test_rates_and_time_left() -> None:
    # Two workers for a hundred seconds, a pause of an hour, then one at half their rate.
    marks = [mark("0", 100, 100), mark("1", 100, 100), mark("2", 3800, 100), mark("3", 3900, 100)]
    totals = summarise(marks, now=4000.0)
    assert totals.active_seconds == 300 and totals.rows_per_second == pytest.approx(400 / 300)
    assert totals.recent_rows_per_second == pytest.approx(1.0)
    assert totals.seconds_left(6) == pytest.approx(600) and totals.seconds_left(0) == 0
    assert summarise([], now=0.0).seconds_left(6) is None and summarise([], now=0.0).rows_per_second == 0


def test_slowest_units_are_those_with_most_seconds_a_row() -> None:
    marks = [mark(str(seconds), 1000, seconds) for seconds in range(1, 9)] + [mark("short", 1000, 1, num_rows=1)]
    assert [slow.name for slow in summarise(marks, now=1000.0).slowest] == ["short", "8", "7", "6", "5"]


def test_reasons_are_summed_with_the_commonest_first() -> None:
    marks = [mark("0", 1, 1, reasons={"a: x": 1, "b: y": 2}), mark("1", 2, 1, reasons={"a: x": 4})]
    assert list(summarise(marks, now=2.0).reasons.items()) == [("a: x", 5), ("b: y", 2)]


def test_a_clock_that_runs_ahead_leaves_the_others_in_the_rate_and_is_told() -> None:
    right = [mark(str(place), 900 + 10 * place, 10) for place in range(10)]
    totals = summarise([*right, mark("ahead", 4600, 50)], now=1000.0)
    assert totals.recent_rows_per_second == pytest.approx(10.0)
    assert totals.last_finished_at == 1000 and totals.seconds_ahead == 3600
    *_, said = as_lines(Path("side"), totals, 20, done=False, now=1000.0)
    assert said == "  a machine's clock is 60 min ahead of this one's: rates and times left are rough"
    assert not any(
        "clock" in line for line in as_lines(Path("side"), summarise(right, now=1000.0), 20, done=False, now=1e3)
    )


def test_lines_of_a_job_under_way() -> None:
    totals = summarise([mark("00000", 100, 50, reasons={"failed_to_decode: truncated": 3})], now=160.0)
    lines = list(as_lines(Path("side"), totals, 721, done=False, now=160.0))
    assert lines == [
        "side: not done, 1/721 units, 100 rows (success 100)",
        "  2.0 rows/s in 50 s of work, lately 2.0 rows/s: 10.0 h left; the last unit was finished 60 s ago",
        "  3 x failed_to_decode: truncated",
        "  slowest: 00000 (100 rows in 50 s)",
    ]


def test_lines_of_a_job_that_has_only_begun() -> None:
    lines = list(as_lines(Path("side"), summarise([], now=0.0), 3, done=False, now=0.0))
    assert lines == ["side: not done, 0/3 units, 0 rows (none yet)"]
    assert as_json(summarise([], now=0.0), 3, done=False, now=0.0)["seconds_left"] is None


def test_status_reads_the_folder_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = finished_job(tmp_path, 2)
    for path in Path(str(config.shards)).iterdir():
        path.unlink()
    verbs.status(StatusConfig(output_dir=config.output_dir))
    assert "done, 2/2 units, 10 rows (success 8, failed_to_download 2)" in capsys.readouterr().out
    verbs.status(StatusConfig(output_dir=config.output_dir, json=True))
    said = json.loads(capsys.readouterr().out)
    assert said["done"] and said["num_units"] == said["num_units_done"] == 2 and said["num_rows_done"] == 10
    assert said["reasons"] == {"failed_to_download: HTTP 404": 2} and said["seconds_left"] == 0
    assert said["slowest"][0]["stage_seconds"] == {"captioning": 1.5}


def test_a_mark_that_is_none_is_named(tmp_path: Path) -> None:
    config = finished_job(tmp_path, 1)
    (config.output_dir / "00000_stats.json").write_text("{}")
    with pytest.raises(UserError, match=r"00000_stats\.json: no mark of a captioned unit: found KeyError"):
        verbs.status(StatusConfig(output_dir=config.output_dir))
