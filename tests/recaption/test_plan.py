"""A plan: the pace of a steady job, what any number of images takes by it, and the check against the real run."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from recaption import verbs
from recaption.__main__ import main, spell_out
from recaption.config import RecaptionConfig, StatusConfig
from recaption.engine_config import EngineConfig
from recaption.job.marks import UnitMark
from recaption.planning.calibration import Calibration, count_rows, rows_under_way
from recaption.planning.checking import PLAN, check_lines
from recaption.planning.config import PlanConfig
from recaption.planning.estimate import estimate
from recaption.planning.pace import Block, steady_blocks, steady_pace
from recaption.planning.verbs import plan
from runtime.errors import UserError
from runtime.intervals import Interval
from tests.recaption.engine.scripted import ListUnit


def mark(name: str, finished_at: int | float, num_rows: int = 10) -> UnitMark:
    return UnitMark(name=name, num_rows=num_rows, statuses={}, parquet_sha256="", finished_at=float(finished_at))


def found(**fields: object) -> Calibration:
    known = {
        "num_rows": 512, "num_input_rows": 10_000, "workers": 2, "seconds_per_row": Interval(0.05, 0.04, 0.06),
        "reading_seconds_per_row": 0.001, "opening_seconds": 30.0, "warming_seconds": 6.0,
        "sidecar_bytes_per_row": Interval(250.0, 240.0, 260.0),
        "image_bytes_per_row": Interval(35e3, 34e3, 36e3), "statuses": {"success": 512}, "mean_words": 49.4,
        "num_unfit": 5,
    }  # fmt: skip
    return Calibration(**{**known, **fields})  # type: ignore[arg-type]


def test_the_pace_leaves_out_the_start_and_the_end() -> None:
    # The first unit takes 60 s to compile, the last waits for a straggler.
    marks = [mark(str(i), 60 + 2 * i) for i in range(7)] + [mark("7", 400)]
    blocks = steady_blocks(marks, warming_rows=10, draining_rows=10)
    assert blocks == [Block(num_rows=10, seconds=2.0)] * 6
    pace = steady_pace(marks, warming_rows=10, draining_rows=10)
    assert pace.seconds_per_row.value == pytest.approx(0.2) == pace.seconds_per_row.high
    # The first unit's own mark says no more than when it ended.
    assert pace.warming_seconds == 0.0
    began = [replace(marks[0], wall_seconds=60.0), *marks[1:]]
    assert steady_pace(began, warming_rows=10, draining_rows=10).warming_seconds == pytest.approx(58)


def test_units_that_end_together_are_one_block() -> None:
    marks = [mark(str(i), 2.0 * (i // 2)) for i in range(8)]
    assert steady_blocks(marks, warming_rows=20, draining_rows=0) == [Block(num_rows=20, seconds=2.0)] * 3


def test_too_few_rows() -> None:
    with pytest.raises(UserError, match="too few rows to calibrate on: found 30 rows, 2 stretches"):
        steady_blocks([mark(str(i), float(i)) for i in range(3)], warming_rows=10, draining_rows=0)


def test_a_billion_images_on_many_devices() -> None:
    result = estimate(found(), 1_300_000_000, 256, 2.0)
    # Two workers take 0.05 s a row together, so one device takes 0.1 s.
    assert result.images_per_second.value == pytest.approx(2560)
    assert result.device_hours.value == pytest.approx(1.3e9 * 0.1 / 3600)
    assert result.hours.value == pytest.approx(1.3e9 * 0.1 / 3600 / 256 + 0.01)
    assert result.dollars is not None and result.dollars.value == pytest.approx(2 * (1.3e9 * 0.1 / 3600 + 2.56))
    assert result.sidecar_bytes.value == pytest.approx(325e9) and result.image_bytes.low == pytest.approx(1.3e9 * 34e3)
    assert result.hours.low < result.hours.value < result.hours.high
    assert estimate(found(), 10, 1, None).dollars is None


def test_slow_reading_is_the_limit() -> None:
    slow = found(reading_seconds_per_row=0.5)
    assert slow.limit == "reading" and found().limit == "captioning"
    assert estimate(slow, 3600, 1, None).device_hours.value == pytest.approx(0.5)


def test_rows_are_counted_or_estimated() -> None:
    units = [ListUnit(name=str(i), content=(), stated_rows=10) for i in range(1000)]
    assert count_rows(units[:3]) == 30 and count_rows(units) == 10_000


def test_flags_of_the_job_need_no_prefix() -> None:
    words = ["--shards", "s", "--engine.rows_ahead=3", "--num_images", "9", "--devices", "4", "--device", "cpu"]
    told = spell_out("plan", words)
    assert told == [
        "--job.shards", "s", "--job.engine.rows_ahead=3", "--num_images", "9", "--devices", "4", "--job.device", "cpu",
    ]  # fmt: skip


def test_plan_then_run_then_both(
    model: Path, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ["--shards", str(shards), "--model", str(model), "--output_dir", str(tmp_path / "run"), "--batch_size", "3"]
    flags += ["--max_new_tokens", "8", "--device", "cpu", "--engine.supervised", "false"]
    asked = ["--calibration_rows", "18", "--num_images", "1000000", "--devices", "8", "--dollars_per_device_hour", "2"]
    monkeypatch.setattr("sys.argv", ["recaption", "plan", *flags, *asked])
    main()
    told = capsys.readouterr().out
    assert "measured on 18 rows of 21, 1 workers" in told and "asked for: 1,000,000 images on 8 devices" in told
    record = json.loads((tmp_path / "run" / PLAN).read_text())
    assert record["asked"]["num_images"] == 1_000_000 and record["job"]["num_images"] == 21
    assert sum(record["calibration"]["statuses"].values()) == 18
    # Nothing of the calibration is left where the run's sidecars go.
    assert sorted(path.name for path in (tmp_path / "run").rglob("*")) == ["job", "plan", "plan.json"]
    monkeypatch.setattr("sys.argv", ["recaption", "run", *flags])
    main()
    assert "planned " in capsys.readouterr().out
    verbs.status(StatusConfig(output_dir=tmp_path / "run"))
    told = capsys.readouterr().out
    assert "the plan's interval" in told and "bytes a row of sidecars" in told


def test_check_against_a_damaged_plan(tmp_path: Path) -> None:
    from recaption.job.progress import summarise

    totals = summarise(
        [UnitMark(name="0", num_rows=20, statuses={}, parquet_sha256="", finished_at=2.0, wall_seconds=2.0)], now=3.0
    )
    assert list(check_lines(tmp_path, totals, None)) == []
    (tmp_path / PLAN).parent.mkdir(parents=True)
    (tmp_path / PLAN).write_text('{"calibration": {}}')
    with pytest.raises(UserError, match=r"plan.json: no plan of ours: found KeyError\('seconds_per_row'\)"):
        list(check_lines(tmp_path, totals, None))


def test_bad_input(tmp_path: Path) -> None:
    job = RecaptionConfig(model=tmp_path, output_dir=tmp_path / "run", shards="s", engine=EngineConfig(), workers=3)
    assert rows_under_way(job) == 192
    with pytest.raises(UserError, match="devices: out of range: found 0"):
        PlanConfig(job=job, devices=0)
    with pytest.raises(UserError, match="s: folder is missing"):
        plan(PlanConfig(job=job))


def test_too_few_rows_are_refused_before_any_is_captioned(model: Path, shards: Path, tmp_path: Path) -> None:
    job = RecaptionConfig(model=model, output_dir=tmp_path / "run", shards=str(shards), batch_size=3)
    with pytest.raises(UserError, match="found 11 rows, wanted 12 at least"):
        plan(PlanConfig(job=job, calibration_rows=11))
