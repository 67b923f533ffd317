"""Runs that go on without a bad update, up to a declared number."""

import math

import pytest
import torch

from runtime.errors import NonFiniteError, UserError
from runtime.loop_config import LoopConfig
from runtime.loss_guard import LossGuard
from runtime.metrics import JsonLines
from runtime.training import Training
from tests.runtime.toys import TASKS, ToyModel, ToySource, loop_config, train


class SpoiledSource(ToySource):
    """Two of its batches hold a value that is not finite: those of updates 3 and 6."""

    def batch(self, positions):
        batch = super().batch(positions)
        for place in (22, 44):
            if place in positions:
                batch.rows[list(positions).index(place)] = float("nan")
        return batch


def spoiled(folder, **changes):
    return train("diffusion", folder, source=SpoiledSource(8, None), **{"max_refused_updates": 2, **changes})


def test_refused_updates_are_written_down_and_the_run_goes_on(tmp_path):
    result = spoiled(tmp_path)
    rows = list(JsonLines(tmp_path / "refused_updates.jsonl").rows())
    assert [(row["update"], row["loss"]) for row in rows] == [(3, "nan"), (6, "nan")]
    source = ToySource(8, None)
    assert rows[0]["keys"] == [f"toy/{source.sample(place)}" for place in range(16, 24)]
    assert result.metrics["refused_updates"] == 2
    assert all(weight.isfinite().all() for weight in result.model.parameters())


def test_one_more_than_declared_stops(tmp_path):
    with pytest.raises(NonFiniteError, match="step 5: loss nan"):
        spoiled(tmp_path, max_refused_updates=1)
    assert len(list(JsonLines(tmp_path / "refused_updates.jsonl").rows())) == 2


def test_a_stopped_run_counts_on_and_ends_in_the_same_weights(tmp_path):
    whole = spoiled(tmp_path / "whole")

    class Stopped(SpoiledSource):
        def batch(self, positions):
            if 40 in positions:
                raise KeyboardInterrupt
            return super().batch(positions)

    with pytest.raises(KeyboardInterrupt):
        train("diffusion", tmp_path / "stopped", source=Stopped(8, None), max_refused_updates=2)
    continued = spoiled(tmp_path / "stopped")
    assert continued.metrics == whole.metrics
    torch.testing.assert_close(dict(continued.model.state_dict()), dict(whole.model.state_dict()), rtol=0, atol=0)
    files = [(tmp_path / name / "refused_updates.jsonl").read_text() for name in ("whole", "stopped")]
    assert files[0] == files[1]


def test_a_line_without_any_update_has_no_averages(tmp_path):
    spoiled(tmp_path, log_every_updates=1)
    lines = list(JsonLines(tmp_path / "metrics.jsonl").rows())
    assert "loss" not in lines[2] and lines[2]["refused_updates"] == 1 and lines[3]["loss"] > 0


def test_batch_statistics_stay_as_they_were():
    model = ToyModel()
    model.body[3] = torch.nn.BatchNorm1d(16)
    training = Training(TASKS["diffusion"](), model, loop_config(max_refused_updates=1), 7, {"logit_scale": 0.0})
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    batch = SpoiledSource(8, None).batch(range(16, 24))
    with pytest.raises(NonFiniteError):
        training.update(0, [batch])
    torch.testing.assert_close(dict(model.named_buffers()), before, rtol=0, atol=0)


def test_an_exploding_loss_is_refused():
    training = Training(TASKS["diffusion"](), ToyModel(), loop_config(max_loss=1e-3), 7, {"logit_scale": 0.0})
    with pytest.raises(
        NonFiniteError, match=r"found a loss above 0.001; the update was not taken. Samples: toy/"
    ) as one:
        training.update(0, [ToySource(8, None).batch(range(8))])
    assert one.value.loss > 1e-3 and len(one.value.keys) == 8


@pytest.mark.parametrize(("name", "value"), [("max_loss", 0.0), ("max_loss_ratio", 1.0), ("max_refused_updates", -1)])
def test_wrong_limits_are_refused(name, value):
    with pytest.raises(UserError, match=rf"{name}: out of range: found {value}"):
        LoopConfig(num_updates=1, batch_size=1, learning_rate=1.0, **{name: value})


def exploded(config_changes, losses):
    """Return which of some losses a guard lets pass, each learnt from when it does."""
    guard, passed = LossGuard(loop_config(**config_changes)), []
    for loss in losses:
        passed.append(guard.allows(loss))
        if passed[-1]:
            guard.learn(loss)
    return passed


def test_what_explodes_is_measured_by_what_was_usual():
    assert exploded({"max_loss_ratio": 2.0}, [4.0, 7.9, 9.0, 4.0, 1e9]) == [True, True, False, True, False]
    assert exploded({"max_loss_ratio": 2.0, "max_loss": 5.0}, [4.0, 7.9, 5.0]) == [True, False, True]
    assert exploded({}, [4.0, 1e30, math.inf]) == [True, True, False]


class ExplodingSource(ToySource):
    """The batch of update 5 is a thousand times as large as others."""

    def batch(self, positions):
        batch = super().batch(positions)
        if 32 in positions:
            batch.rows.mul_(1000)
        return batch


def test_an_exploding_update_is_refused_and_what_was_usual_outlives_a_restart(tmp_path):
    changes = {"max_loss_ratio": 20.0, "max_refused_updates": 1, "checkpoint_every_updates": 2}
    whole = train("token", tmp_path / "whole", source=ExplodingSource(8, None), **changes)
    rows = list(JsonLines(tmp_path / "whole" / "refused_updates.jsonl").rows())
    assert [row["update"] for row in rows] == [5] and len(rows[0]["keys"]) == 8
    assert float(rows[0]["loss"]) > 20

    class Stopped(ExplodingSource):
        def batch(self, positions):
            if 32 in positions:
                raise KeyboardInterrupt
            return super().batch(positions)

    with pytest.raises(KeyboardInterrupt):
        train("token", tmp_path / "stopped", source=Stopped(8, None), **changes)
    continued = train("token", tmp_path / "stopped", source=ExplodingSource(8, None), **changes)
    assert continued.metrics == whole.metrics and whole.metrics["refused_updates"] == 1
    torch.testing.assert_close(dict(continued.model.state_dict()), dict(whole.model.state_dict()), rtol=0, atol=0)
    with pytest.raises(NonFiniteError, match=r"step 4: loss .*: found a loss above .*; the update was not taken"):
        train("token", tmp_path / "none", source=ExplodingSource(8, None), **{**changes, "max_refused_updates": 0})
