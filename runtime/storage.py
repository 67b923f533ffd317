"""In what type weights are kept."""

from typing import Literal

import torch
from torch import nn


@torch.no_grad()
def set_storage_types(model: nn.Module, frozen_weights: Literal["fp32", "bf16"]) -> None:
    """Keep trained weights in float32, and frozen ones as asked, in place.

    Of frozen weights only matrices and larger become bfloat16: norms and biases are small, and kernels want them in
    the type of what they normalise.
    """
    for parameter in filter(torch.is_floating_point, model.parameters()):
        lean = frozen_weights == "bf16" and not parameter.requires_grad and parameter.ndim >= 2
        parameter.data = parameter.data.to(torch.bfloat16 if lean else torch.float32)
