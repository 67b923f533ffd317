"""The steps between products, each one kernel on a GPU: a turn by position, and a gate."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

Turn = Callable[[Tensor, Tensor, Tensor], Tensor]
Gate = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Pointwise:
    """How the steps between products are run."""

    turn: Turn
    gate: Gate


def turn(
    heads: Float[Tensor, "*rows heads head"],
    cosines: Float[Tensor, "... 1 head"],
    sines: Float[Tensor, "... 1 head"],
) -> Float[Tensor, "*rows heads head"]:
    """Turn queries or keys by their positions (rotary embedding, Su et al. 2021): x cos + (-x2, x1) sin.

    The first half of `sines` carries the minus sign, so that the halves are only swapped.
    """
    return torch.addcmul(heads * cosines, heads.roll(heads.shape[-1] // 2, -1), sines)


def gate(gate_up: Float[Tensor, "rows double"]) -> Float[Tensor, "rows inner"]:
    """Return silu(first half) * second half."""
    closed, through = gate_up.chunk(2, dim=-1)
    return torch.nn.functional.silu(closed) * through


def pointwise_for(device: torch.device) -> Pointwise:
    """Return the steps as they run fastest: on a GPU each compiled into one kernel, where Triton and a C compiler are.

    On a CPU compiling takes half a minute and saves nothing that a measurement shows: products and attention take the
    time there.
    """
    if device.type == "cuda" and _can_compile():
        # Triton rounds sums like torch's own kernels; only the passes over memory are fewer.
        return Pointwise(turn=torch.compile(turn, dynamic=True), gate=torch.compile(gate, dynamic=True))
    return Pointwise(turn=turn, gate=gate)


def _can_compile() -> bool:
    from torch.utils._triton import has_triton

    return has_triton() and any(shutil.which(name) for name in ("cc", "gcc", "clang"))
