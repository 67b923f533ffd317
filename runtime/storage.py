"""In what type weights are kept, and in whose memory."""

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


@torch.no_grad()
def leave_files(model: nn.Module) -> None:
    """Give every weight memory of its own, in place, where it may still lie in the mapped pages of a file.

    A file's tensors begin anywhere, and kernels on a CPU sum in another order at other addresses: a run that continues
    from another file than it began with would not stay bit-identical.
    """
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()
