"""5 updates + resume + 7 updates == 12 updates, bit for bit."""

from pathlib import Path

import pytest
import torch

from runtime import checkpoints
from runtime.metrics import JsonLines
from tests.runtime.toys import TASKS, ToySource, train


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the loop catches it."""


class KillingSource(ToySource):
    """Dies when the batch of one update is asked for."""

    def __init__(self, kill_at_update: int, microbatch_size: int | None):
        super().__init__(8, microbatch_size)
        self.kill_at_update = kill_at_update

    def batch(self, positions):
        if positions[0] // self.batch_size == self.kill_at_update:
            raise Killed
        return super().batch(positions)


def assert_same_run(one: Path, other: Path, update: int = 12) -> None:
    first, second = checkpoints.latest(one / "checkpoints"), checkpoints.latest(other / "checkpoints")
    assert first.update == second.update == update
    assert first.model_sha256 == second.model_sha256
    states = [torch.load(c.folder / checkpoints.STATE_FILE, weights_only=True) for c in (first, second)]
    optimizers = [state.pop("optimizer") for state in states]
    assert optimizers[0]["param_groups"] == optimizers[1]["param_groups"]
    assert len(optimizers[0]["state"]) >= 6
    torch.testing.assert_close(optimizers[0]["state"], optimizers[1]["state"], rtol=0, atol=0)
    assert states[0]["ema"].keys() == states[1]["ema"].keys()
    torch.testing.assert_close(states[0], states[1], rtol=0, atol=0)
    assert (one / "metrics.jsonl").read_bytes() == (other / "metrics.jsonl").read_bytes()


class CountingToySource(KillingSource):
    """Counts the samples it has served."""

    def __init__(self, kill_at_update: int):
        super().__init__(kill_at_update, None)
        self.served = 0

    def batch(self, positions):
        batch = super().batch(positions)
        self.served += len(positions)
        return batch

    def audit(self):
        return {"served": self.served}

    def state_dict(self):
        return {"served": self.served}

    def load_state_dict(self, states):
        self.served += sum(state["served"] for state in states)


def test_the_audit_covers_the_whole_run(tmp_path):
    with pytest.raises(Killed):
        train("token", tmp_path, source=CountingToySource(7), checkpoint_every_updates=5)
    source = CountingToySource(99)
    train("token", tmp_path, source=source, checkpoint_every_updates=5)
    assert source.audit() == {"served": 12 * 8}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("microbatch_size", [None, 2])
@pytest.mark.parametrize("kill_at_update", [7, 11], ids=["mid-epoch", "across an epoch"])
def test_killed_and_resumed_equals_undisturbed(task, microbatch_size, kill_at_update, tmp_path):
    train(task, tmp_path / "whole", checkpoint_every_updates=100, microbatch_size=microbatch_size)
    source = KillingSource(kill_at_update, microbatch_size)
    settings = {"checkpoint_every_updates": 5, "microbatch_size": microbatch_size}
    with pytest.raises(Killed):
        train(task, tmp_path / "broken", source=source, **settings)
    assert checkpoints.latest(tmp_path / "broken" / "checkpoints").update == kill_at_update - kill_at_update % 5
    result = train(task, tmp_path / "broken", **settings)
    assert_same_run(tmp_path / "whole", tmp_path / "broken")
    assert result.metrics == list(JsonLines(tmp_path / "whole" / "metrics.jsonl").rows())[-1]
