"""Two gloo ranks take the same updates as one rank with two microbatches."""

from pathlib import Path

import pytest
import torch

from runtime.engine import Engine
from runtime.errors import NonFiniteError, UserError
from runtime.metrics import JsonLines
from runtime.training import Training
from tests.fakes import run_distributed
from tests.runtime.toys import TASKS, ToyModel, ToySource, loop_config, train

# Sums over ranks and over microbatches add in another order; fp32 over twelve AdamW updates.
TOLERANCE = {"rtol": 2e-4, "atol": 2e-5}


def train_on_rank(rank: int, task: str, folder: Path, changes: dict) -> dict[str, torch.Tensor]:
    result = train(task, folder, **changes)
    return {"ema": result.ema.state_dict(), "model": dict(result.model.state_dict())}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("microbatch_size", [4, 2], ids=["one microbatch a rank", "two microbatches a rank"])
def test_two_ranks_equal_one(task, microbatch_size, tmp_path):
    one = train_on_rank(0, task, tmp_path / "one", {"microbatch_size": microbatch_size})
    ranks = run_distributed(train_on_rank, 2, task, tmp_path / "two", {"microbatch_size": microbatch_size})
    torch.testing.assert_close(ranks[0], ranks[1], rtol=0, atol=0)
    torch.testing.assert_close(ranks[0], one, **TOLERANCE)
    lines = [list(JsonLines(tmp_path / name / "metrics.jsonl").rows()) for name in ("one", "two")]
    assert len(lines[0]) == 3
    for single, double in zip(*lines, strict=True):
        assert double == pytest.approx(single, rel=2e-4, abs=2e-5)


def resume_on_rank(rank: int, folder: Path) -> dict[str, torch.Tensor]:
    train("contrastive", folder, num_updates=12, checkpoint_every_updates=5)
    return train_on_rank(rank, "contrastive", folder, {"checkpoint_every_updates": 5})["model"]


def test_a_finished_training_loads_on_every_rank(tmp_path):
    first, second = run_distributed(resume_on_rank, 2, tmp_path / "run")
    torch.testing.assert_close(first, second, rtol=0, atol=0)


class SpoiledSource(ToySource):
    def batch(self, positions):
        batch = super().batch(positions)
        if 22 in positions:
            batch.rows[list(positions).index(22)] = float("nan")
        return batch


def refuse_on_rank(rank: int, folder: Path) -> str:
    with pytest.raises(NonFiniteError) as refusal:
        train("token", folder, source=SpoiledSource(8, None))
    return str(refusal.value)


def test_every_rank_refuses_what_one_rank_cannot_compute(tmp_path):
    first, second = run_distributed(refuse_on_rank, 2, tmp_path / "run")
    assert first == second
    assert first.startswith("step 2: loss nan")
    spoiled = ToySource(8, None)
    keys = ", ".join(f"toy/{spoiled.sample(position)}" for position in range(20, 24))
    assert first.endswith(f"Samples: {keys}")


def test_one_process_is_refused_when_several_were_asked_for(monkeypatch):
    monkeypatch.setattr("runtime.launch.world_size", lambda: 2)
    with pytest.raises(RuntimeError, match="accelerate prepared TaskModule on 1 processes; asked for Distributed"):
        Engine(TASKS["token"](), ToyModel(), loop_config(device="cpu"))


def count_nothing_on_rank(rank: int) -> tuple[int, float]:
    """Give rank 1 fewer counted terms than rank 0, and compare with one process."""
    config = loop_config(max_grad_norm=None)
    torch.manual_seed(1)
    training = Training(TASKS["token"](), ToyModel(), config, 7, {"logit_scale": 0.0})
    source = ToySource(8, None)
    training.update(0, next(source.updates(0, rank=rank, world_size=2)))
    averages = training.window.close()
    return averages["loss"], averages["grad_norm"]


def test_loss_is_divided_once_by_the_count_of_all_ranks():
    ranks = run_distributed(count_nothing_on_rank, 2)
    torch.manual_seed(1)
    training = Training(TASKS["token"](), ToyModel(), loop_config(max_grad_norm=None), 7, {"logit_scale": 0.0})
    source = ToySource(8, 4)
    training.update(0, next(source.updates(0, rank=0, world_size=1)))
    averages = training.window.close()
    assert ranks[0] == ranks[1] == pytest.approx((averages["loss"], averages["grad_norm"]), rel=1e-5)


@pytest.mark.parametrize(("batch_size", "microbatch_size"), [(9, None), (12, 4), (4, 4)])
def test_a_batch_that_does_not_divide_over_the_ranks_is_refused(monkeypatch, batch_size, microbatch_size):
    monkeypatch.setattr("runtime.launch.world_size", lambda: 2)
    config = loop_config(device="cpu", batch_size=batch_size, microbatch_size=microbatch_size)
    unit = 2 * (microbatch_size or 1)
    message = rf"batch_size: does not divide.*found {batch_size}, wanted a multiple of {unit} "
    with pytest.raises(UserError, match=message):
        Engine(TASKS["token"](), ToyModel(), config)
