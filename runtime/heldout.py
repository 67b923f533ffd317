"""The loss on samples that are never trained on, by the very forward pass that training takes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from runtime.engine import Engine
from runtime.task import CoupledTask, LossSum, Task

PREFIX = "heldout_"
"""Begins the names under which a held-out loss and its metrics are logged."""


@dataclass(frozen=True, kw_only=True)
class Heldout:
    """Microbatches to measure the loss on, and how often."""

    microbatches: Sequence[Any]
    """The same on every rank: engines that share out weights need all ranks in every forward pass."""
    every_updates: int
    """Updates between two measurements; the last update always has one."""

    def is_due(self, update: int, num_updates: int) -> bool:
        """Tell whether a measurement follows this many updates."""
        return update == num_updates or update % self.every_updates == 0


@torch.no_grad()
def heldout_loss(engine: Engine, task: Task | CoupledTask, heldout: Heldout, *, seed: int) -> dict[str, float]:
    """Return loss and metrics averaged over what the task counts; the model is as it was afterwards.

    Noise, where the task has any, is the same in every measurement.
    """
    assert not isinstance(task, CoupledTask), "a loss that couples samples is none of each sample"
    engine.model.eval()
    sums: dict[str, float] = {}
    count = 0
    for position, microbatch in enumerate(heldout.microbatches):
        found: LossSum = engine.forward(engine.to_device(microbatch), seed, 0, position)
        count += task.count(microbatch)
        for name, value in (("loss", found.total), *found.metrics.items()):
            sums[name] = sums.get(name, 0.0) + float(value)
    engine.model.train()
    return {f"{PREFIX}{name}": value / count for name, value in sums.items()}
