"""The loop against plain PyTorch, its refusals, and how it stops."""

import os
import signal
from pathlib import Path

import pytest
import torch

from runtime import checkpoints
from runtime.errors import NonFiniteError, UserError
from runtime.loop import fit
from runtime.metrics import JsonLines
from runtime.run import Run
from runtime.schedules import cosine_with_warmup
from runtime.training import Training
from tests.runtime.test_resume import assert_same_run
from tests.runtime.toys import KEPT, TASKS, DiffusionTask, ToyModel, ToySource, loop_config, train


def rows(folder: Path) -> list[dict]:
    return list(JsonLines(folder / "metrics.jsonl").rows())


def test_updates_equal_a_plain_pytorch_loop(tmp_path):
    """AdamW, clipping, schedule, decay groups and EMA against torch's own, written out."""

    class Quiet(ToyModel):
        def __init__(self):
            super().__init__()
            self.body[2] = torch.nn.Identity()

    config = loop_config(max_grad_norm=0.5, num_updates=6, log_every_updates=1)
    source, task = ToySource(8, None), TASKS["token"]()
    torch.manual_seed(3)
    model, plain = Quiet(), Quiet()
    plain.load_state_dict(model.state_dict())
    result = fit(task=task, model=model, source=source, config=config, run=Run.open(tmp_path, config), seed=7)

    decayed = [p for p in plain.parameters() if p.ndim >= 2]
    others = [p for n, p in plain.named_parameters() if p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1.0, fused=False, foreach=False)
    average = {name: p.detach().clone() for name, p in plain.named_parameters()}
    for step, (batch,) in zip(range(6), source.updates(0, rank=0, world_size=1)):
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 * cosine_with_warmup(step, 6, 3)
        optimizer.zero_grad()
        loss = task.loss(plain, batch, step, torch.Generator()).total / task.count(batch)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(plain.parameters(), 0.5)
        optimizer.step()
        for name, p in plain.named_parameters():
            average[name] = 0.9 * average[name] + 0.1 * p.detach()
        line = rows(tmp_path)[step]
        assert line["loss"] == pytest.approx(loss.item(), rel=1e-5)
        assert line["grad_norm"] == pytest.approx(norm.item(), rel=1e-5)
        assert line["learning_rate"] == pytest.approx(1e-2 * cosine_with_warmup(step, 6, 3))
    # Fused and plain AdamW round differently in the last bits.
    torch.testing.assert_close(
        dict(result.model.named_parameters()), dict(plain.named_parameters()), rtol=1e-5, atol=1e-6
    )
    torch.testing.assert_close(result.ema.state_dict(), average, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("task", TASKS)
def test_toys_learn(task, tmp_path):
    train(task, tmp_path, num_updates=60, log_every_updates=5)
    lines = rows(tmp_path)
    assert lines[-1]["loss"] < 0.8 * lines[0]["loss"]


def test_a_loss_that_is_not_finite_is_refused_before_the_update():
    source, model = ToySource(8, 4), ToyModel()
    training = Training(DiffusionTask(), model, loop_config(), 7, {"logit_scale": 0.0})
    for step in range(2):
        training.update(step, next(source.updates(step, rank=0, world_size=1)))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    average = {name: p.clone() for name, p in training.ema.state_dict().items()}
    microbatches = next(source.updates(2, rank=0, world_size=1))
    microbatches[1].rows[2] = float("inf")
    with pytest.raises(NonFiniteError) as refusal:
        training.update(2, microbatches)
    assert str(refusal.value).startswith("step 2: loss nan, gradient norm nan: found a value that is not finite")
    assert str(refusal.value).endswith(f"Samples: {', '.join(microbatches[1].keys)}")
    torch.testing.assert_close(before, dict(model.named_parameters()), rtol=0, atol=0)
    torch.testing.assert_close(average, training.ema.state_dict(), rtol=0, atol=0)


def test_a_gradient_that_is_not_finite_is_refused_too():
    class InfiniteSlope(DiffusionTask):
        def loss(self, model, batch, step, generator):
            sums = super().loss(model, batch, step, generator)
            # sqrt has value 0 and slope infinity at 0.
            return type(sums)(total=sums.total + (model.head.bias * 0).abs().sum().sqrt())

    training = Training(InfiniteSlope(), ToyModel(), loop_config(batch_size=16), 7, {"logit_scale": 0.0})
    with pytest.raises(
        NonFiniteError, match=r"step 0: loss \d\.\d+, gradient norm nan.*Samples: toy/\d+, .* and 8 more"
    ):
        training.update(0, next(ToySource(16, None).updates(0, rank=0, world_size=1)))


class TerminatingSource(ToySource):
    def batch(self, positions):
        if positions[0] == 6 * self.batch_size:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().batch(positions)


def test_sigterm_saves_and_leaves_and_the_run_continues(tmp_path):
    train("token", tmp_path / "whole")
    with pytest.raises(SystemExit) as leaving:
        train("token", tmp_path / "stopped", source=TerminatingSource(8, None))
    assert leaving.value.code == 143
    assert checkpoints.latest(tmp_path / "stopped" / "checkpoints").update == 7
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    train("token", tmp_path / "stopped")
    assert_same_run(tmp_path / "whole", tmp_path / "stopped")


def test_changed_data_is_refused(tmp_path):
    train("token", tmp_path, source=ToySource(8, None, name="old data"))
    with pytest.raises(
        UserError, match=r"training data changed since this checkpoint.*found new data, wanted old data"
    ):
        train("token", tmp_path, source=ToySource(8, None, name="new data"))


def test_a_trained_run_returns_at_once_with_model_and_metrics(tmp_path):
    first = train("diffusion", tmp_path)

    class NoSource(ToySource):
        def batch(self, positions):
            raise AssertionError("nothing is left to read")

    again = train("diffusion", tmp_path, source=NoSource(8, None))
    assert again.metrics == first.metrics and again.metrics["update"] == 12
    torch.testing.assert_close(dict(again.model.state_dict()), dict(first.model.state_dict()), rtol=0, atol=0)
    torch.testing.assert_close(again.ema.state_dict(), first.ema.state_dict(), rtol=0, atol=0)


def test_what_the_callback_returns_is_logged(tmp_path):
    config = loop_config(num_updates=4)
    seen = []

    def on_update(update, model, ema):
        seen.append((update, type(model), ema is not None))
        return {"probe": update / 2} if update % 2 == 0 else {}

    fit(
        task=DiffusionTask(),
        model=ToyModel(),
        source=ToySource(8, None),
        config=config,
        run=Run.open(tmp_path, config),
        seed=7,
        learning_rate_multipliers={"logit_scale": 0.0},
        on_update=on_update,
    )
    assert seen == [(update, ToyModel, True) for update in (1, 2, 3, 4)]
    assert [row for row in rows(tmp_path) if "probe" in row] == [
        {"update": 2, "probe": 1.0},
        {"update": 4, "probe": 2.0},
    ]


def test_speed_flops_and_progress_are_written(tmp_path):
    train("token", tmp_path)
    speed = list(JsonLines(tmp_path / "speed.jsonl").rows())
    assert [row["update"] for row in speed] == [4, 8, 12]
    assert all(row["samples_per_second"] > 0 and row["flops_per_second"] > 0 for row in speed)
    progress = Run.open(tmp_path, loop_config(), identity_excludes=KEPT).progress()
    assert progress["update"] == progress["num_updates"] == 12 and progress["seconds_left"] == 0


def test_a_resumed_run_keeps_the_cost_it_measured_first(tmp_path, monkeypatch):
    train("token", tmp_path / "run", num_updates=4)
    measured = Run.open(tmp_path / "run", loop_config(num_updates=4), identity_excludes=KEPT).read("flops.json")
    # Two layers of 6 x 16, a multiply-add counts two; forwards, and backwards all but the first layer's input.
    assert measured["flops_per_sample"] == 2 * (6 * 16) * (2 + 3)
    assert set(measured["by_operator_per_update_and_rank"]) == {"addmm", "mm"}
    (tmp_path / "run" / "checkpoints" / "step-0000004").rename(tmp_path / "gone")
    monkeypatch.setattr("runtime.recorder.FlopLedger", None)
    assert train("token", tmp_path / "run", num_updates=4).num_updates == 4
