"""What a training method supplies to the loop, which knows nothing else about it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class LossSum:
    """A loss summed, not averaged, over what the task counts; only the loop divides, once."""

    total: Tensor
    """0-dim float32 sum of the loss over everything `count` counts in the batch."""
    metrics: Mapping[str, Tensor] = field(default_factory=dict)
    """Detached 0-dim sums over the same count; the loop divides them by it too."""
    shares: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    """Detached 0-dim sums, each with a count of its own to be divided by (a loss of some of the samples). Alike in name
    and number in every batch; a count of zero leaves the name out of that line. One called `share/...` says how many of
    the count are of a kind, and is logged with its 95 % interval, `share_low/...` and `share_high/...`.
    """


@runtime_checkable
class Batch(Protocol):
    """Anything one microbatch may be, as long as its samples have names."""

    @property
    def keys(self) -> Sequence[str]:
        """Names of the samples, in order; error messages show them."""


@runtime_checkable
class Task(Protocol):
    """A training method whose loss is a sum over independent samples (tokens, pixels)."""

    def count(self, batch: Any) -> int:
        """Return how many terms the batch's loss sums over; zero is allowed."""

    def loss(self, model: nn.Module, batch: Any, step: int, generator: torch.Generator) -> LossSum:
        """Return the summed loss of one microbatch; all noise comes from `generator`."""


@runtime_checkable
class CoupledTask(Protocol):
    """A training method whose loss couples the samples of a batch (contrastive).

    The loop computes the loss over the whole global batch whatever the number of microbatches and ranks: features
    first without a graph, then each rank's part of the loss and the gradient with respect to all features, then each
    microbatch again with a graph.
    """

    def count(self, batch: Any) -> int:
        """Return how many terms the batch adds to the loss (its samples)."""

    def features(self, model: nn.Module, batch: Any, step: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Return what the loss needs from the model.

        Tensors with a batch axis are concatenated over microbatches and ranks; 0-dim tensors (logit scale) are shared
        by all. Called twice for each microbatch with equal generators, so it must be a pure function of its
        arguments.
        """

    def coupled_loss(self, features: dict[str, Tensor], step: int, mine: slice) -> LossSum:
        """Return this rank's part of the loss, from the gathered features of the whole global batch.

        `mine` are its rows; parts sum up to the loss over ranks, and so do metrics.
        """
