"""Runs that go on without a bad update, up to a declared number."""

import pytest
import torch

from runtime.errors import NonFiniteError, UserError
from runtime.loop_config import LoopConfig
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


@pytest.mark.parametrize(("name", "value"), [("max_loss", 0.0), ("max_refused_updates", -1)])
def test_wrong_limits_are_refused(name, value):
    with pytest.raises(UserError, match=rf"{name}: out of range: found {value}"):
        LoopConfig(num_updates=1, batch_size=1, learning_rate=1.0, **{name: value})
