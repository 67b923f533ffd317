"""The rates that a run shows: counts over seconds, of the counted updates alone."""

from pathlib import Path
from typing import Any

import pytest

from runtime import recorder
from runtime.loop import fit
from runtime.metrics import JsonLines
from runtime.run import SPEED_FILE, Run
from tests.runtime.toys import DiffusionTask, ToyBatch, ToyModel, ToySource, loop_config


class Clock:
    """Stands still but for what is told to take time."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


def workload(batch: ToyBatch) -> dict[str, int]:
    return {"rows": len(batch.rows), "flops": 1000 * len(batch.rows)}


def speeds(folder: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, **extra: Any) -> list[dict[str, Any]]:
    monkeypatch.setattr(recorder, "time", clock)
    config = loop_config(num_updates=4, log_every_updates=2)

    class SlowSource(ToySource):
        def batch(self, positions: Any) -> ToyBatch:
            clock.now += 0.5
            return super().batch(positions)

    fit(
        task=DiffusionTask(),
        model=ToyModel(),
        source=SlowSource(8, None),
        config=config,
        run=Run.open(folder, config),
        seed=7,
        learning_rate_multipliers={"logit_scale": 0.0},
        workload=workload,
        **extra,
    )
    return list(JsonLines(folder / SPEED_FILE).rows())


def test_counts_become_rates_and_flops_are_the_workloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = speeds(tmp_path, Clock(), monkeypatch)
    assert [row["update"] for row in found] == [2, 4]
    for row in found:
        # Two updates of eight rows in one second, all of it waiting for data.
        assert row["rows_per_second"] == row["samples_per_second"] == 16
        assert row["flops_per_second"] == 16_000
        assert row["waiting_share"] == 1
        assert "mfu" not in row, "a CPU has no known peak"
    assert not (tmp_path / "flops.json").exists(), "what a workload says needs no ledger"


def test_what_is_done_between_updates_slows_no_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()

    def evaluate(update: int, model: Any, ema: Any) -> dict[str, float]:
        clock.now += 100
        return {}

    assert speeds(tmp_path, clock, monkeypatch, on_update=evaluate)[-1]["samples_per_second"] == 16


def test_utilisation_is_the_share_of_the_peak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "peak_flops_per_second", lambda *_: 64_000.0)
    assert speeds(tmp_path, Clock(), monkeypatch)[-1]["mfu"] == 0.25
