"""How a model's weights, gradients and optimizer state lie on the ranks; the loop treats all ways alike."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn


class Parallelism(ABC):
    """One way of training a model on all ranks. Every method is called by every rank, in the same order."""

    device: torch.device
    """Where this rank computes."""
    module: nn.Module
    """Called with a microbatch, a step and a generator; returns what `TaskModule.forward` does."""
    optimizer: torch.optim.Optimizer
    """Steps this rank's weights, or its share of them; its groups hold the learning rates."""
    is_sharded: bool
    """Whether a rank holds only its share of the optimizer's state."""

    @abstractmethod
    def gradients_shared(self, now: bool) -> AbstractContextManager[None]:
        """Surround one forward and backward pass; `now` says that it is the update's last."""

    @abstractmethod
    def backward(self, loss: Tensor) -> None:
        """Add the gradient of a loss to the update's. Ranks average what is wanted as a sum."""

    @abstractmethod
    def clear_gradients(self) -> None:
        """Forget the gradients of the update before."""

    @abstractmethod
    def gradient_norm(self) -> Tensor | None:
        """Return the norm of the update's whole gradient, alike on all ranks; None where only `step` computes it."""

    @abstractmethod
    def step(self, grad_norm: float | None) -> float:
        """Clip, take the optimizer's step and return the norm before clipping.

        A norm that is not finite says that no step was taken and the weights are as they were.
        """

    @abstractmethod
    def whole(self, tensor: Tensor) -> Tensor:
        """Return a parameter or buffer of the model put together from all ranks; trained weights are float32."""

    @abstractmethod
    def optimizer_state(self) -> dict[str, Any]:
        """Return the optimizer's state, or this rank's share of it, as plain types and tensors."""

    @abstractmethod
    def load_optimizer_state(self, state: Mapping[str, Any]) -> None:
        """Take over what `optimizer_state` returned; the model has held the weights of that time since it was given."""
