"""The gradient of one update over all microbatches and ranks: count first, divide once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from runtime.engine import Engine
from runtime.errors import UserError
from runtime.task import CoupledTask, LossSum, Task


@dataclass(frozen=True, kw_only=True)
class UpdateSums:
    """What one rank's microbatches summed to; gradients are in the parameters already."""

    totals: list[Tensor]
    """Summed loss of each microbatch (one entry in all when the loss couples them)."""
    metrics: dict[str, Tensor]
    """Summed metrics of this rank."""
    shares: dict[str, tuple[Tensor, Tensor]]
    """This rank's sums that have counts of their own, with those."""
    count: int
    """What to divide by: the count over all microbatches and ranks."""


def compute_gradients(
    engine: Engine, task: Task | CoupledTask, microbatches: Sequence[Any], *, seed: int, step: int, batch_size: int
) -> UpdateSums:
    """Fill in the gradient of (loss summed over the global batch) / (count of the global batch)."""
    count = _count_all(engine, task, microbatches, step)
    batches = [engine.to_device(batch) for batch in microbatches]
    nominal_size = batch_size // (engine.world_size * len(batches))
    first = step * batch_size + engine.rank * len(batches) * nominal_size
    positions = [first + index * nominal_size for index in range(len(batches))]
    forward = _Forward(engine, seed, step, batches, positions)
    if isinstance(task, CoupledTask):
        return _coupled(forward, task, count)
    return _independent(forward, count)


@dataclass(frozen=True)
class _Forward:
    engine: Engine
    seed: int
    step: int
    batches: Sequence[Any]
    positions: Sequence[int]

    def __call__(self, index: int) -> Any:
        return self.engine.forward(self.batches[index], self.seed, self.step, self.positions[index])

    def is_last(self, index: int) -> bool:
        return index == len(self.batches) - 1


def _count_all(engine: Engine, task: Task | CoupledTask, microbatches: Sequence[Any], step: int) -> int:
    count = sum(task.count(batch) for batch in microbatches)
    if engine.world_size > 1:
        count = int(engine.sum_over_ranks(torch.tensor(count, device=engine.device)).item())
    if count < 1:
        raise UserError("no sample of this update counts towards the loss", where=f"update {step}", found=count)
    return count


def _independent(forward: _Forward, count: int) -> UpdateSums:
    # Ranks average what is wanted as a sum.
    divisor = count / forward.engine.world_size
    totals: list[Tensor] = []
    metrics: dict[str, Tensor] = {}
    shares: dict[str, tuple[Tensor, Tensor]] = {}
    for index in range(len(forward.batches)):
        with forward.engine.gradients_shared(forward.is_last(index)):
            sums: LossSum = forward(index)
            forward.engine.backward(sums.total.float() / divisor)
        totals.append(sums.total.detach())
        for name, value in sums.metrics.items():
            metrics[name] = metrics[name] + value if name in metrics else value
        for name, (value, number) in sums.shares.items():
            before = shares.get(name, (0.0, 0.0))
            shares[name] = before[0] + value, before[1] + number
    return UpdateSums(totals=totals, metrics=metrics, shares=shares, count=count)


def _coupled(forward: _Forward, task: CoupledTask, count: int) -> UpdateSums:
    """Differentiate a coupled loss exactly, holding one microbatch's graph at a time (GradCache, Gao et al. 2021).

    Features first; then this rank's part of the loss over the whole global batch and the gradient with respect to all
    features, summed over ranks; then each microbatch again with a graph, its features pulled along that gradient. One
    microbatch keeps its graph and runs once.
    """
    engine, alone = forward.engine, len(forward.batches) == 1
    held = []
    for index in range(len(forward.batches)):
        with torch.set_grad_enabled(alone):
            held.append(forward(index))
    leaves, starts, mine = _gather(engine, held)
    sums = task.coupled_loss(leaves, forward.step, mine)
    pulls = _pull(_at_least_float32(sums.total) / count, leaves)
    pulls = {name: engine.sum_over_ranks(pull.contiguous()) for name, pull in pulls.items()}
    for index, features in enumerate(held):
        with engine.gradients_shared(forward.is_last(index)):
            again = features if alone else forward(index)
            share = _surrogate(again, pulls, starts, is_first=engine.rank == 0 and index == 0)
            engine.backward(share * engine.world_size)
        for name in starts:
            starts[name] += len(features[name])
    return UpdateSums(totals=[sums.total.detach()], metrics=dict(sums.metrics), shares=dict(sums.shares), count=count)


def _gather(engine: Engine, held: Sequence[dict[str, Tensor]]) -> tuple[dict[str, Tensor], dict[str, int], slice]:
    """Return the global batch's features as graph leaves, where this rank's rows begin in each, and which they are."""
    leaves, starts, mine = {}, {}, slice(0, 0)
    for name, example in held[0].items():
        if example.ndim == 0:
            rows = example.detach()
        else:
            own = torch.cat([features[name].detach() for features in held])
            rows, starts[name] = engine.gather_rows(own)
            mine = slice(starts[name], starts[name] + len(own))
        leaves[name] = _at_least_float32(rows).requires_grad_() if rows.is_floating_point() else rows
    return leaves, starts, mine


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def _pull(loss: Tensor, leaves: dict[str, Tensor]) -> dict[str, Tensor]:
    wanted = {name: leaf for name, leaf in leaves.items() if leaf.requires_grad}
    gradients = torch.autograd.grad(loss, list(wanted.values()), allow_unused=True)
    return {name: gradient for name, gradient in zip(wanted, gradients) if gradient is not None}


def _surrogate(
    features: dict[str, Tensor], pulls: dict[str, Tensor], starts: dict[str, int], *, is_first: bool
) -> Tensor:
    """Return a scalar whose gradient is the microbatch's part of the loss's gradient.

    A shared 0-dim feature (logit scale) belongs to all microbatches and must be pulled once: by the first of all.
    """
    parts = []
    for name, pull in pulls.items():
        feature = _at_least_float32(features[name])
        if feature.ndim == 0:
            parts.append(feature * pull * float(is_first))
        else:
            parts.append((feature * pull[starts[name] : starts[name] + len(feature)]).sum())
    return torch.stack(parts).sum()
