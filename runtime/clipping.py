"""The norm of a gradient, and its clipping."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def gradients_of(parameters: Iterable[nn.Parameter]) -> list[Tensor]:
    """Return the gradients that there are."""
    return [parameter.grad for parameter in parameters if parameter.grad is not None]


def clip(gradients: list[Tensor], grad_norm: float, limit: float | None) -> None:
    """Scale gradients of a known global norm down to a limit, in place; None leaves them alone."""
    if limit is not None and grad_norm > limit:
        torch._foreach_mul_(gradients, limit / grad_norm)
