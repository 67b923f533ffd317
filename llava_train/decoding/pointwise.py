"""The steps between products: a norm, a turn by position, and a gate; on a GPU each is one kernel."""

import shutil
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import rms_norm

Norm = Callable[[Tensor, Tensor, float], Tensor]
Turn = Callable[[Tensor, Tensor, Tensor], Tensor]
Gate = Callable[[Tensor], Tensor]
Step = TypeVar("Step", bound=Callable[..., Any])


@dataclass(frozen=True)
class Pointwise:
    """How the steps between products are run."""

    norm: Norm
    turn: Turn
    gate: Gate


def rounds_as_published(device: torch.device, dtype: torch.dtype) -> bool:
    """Tell whether every step is rounded as the published model's modules round it, one after the other.

    A step run as one with another rounds once less. That is no worse, but it parts one answer in fifteen of a small
    model in bfloat16 from the modules' own, at ties; on a CPU there is time for the steps, on a GPU not.
    """
    return device.type == "cpu" and dtype != torch.float32


def norm(
    hidden: Float[Tensor, "*rows width"], weight: Float[Tensor, " width"], epsilon: float
) -> Float[Tensor, "*rows width"]:
    """Return hidden states divided by their root mean square and scaled (Zhang and Sennrich 2019)."""
    return rms_norm(hidden, weight.shape, weight, epsilon)


def norm_stepwise(
    hidden: Float[Tensor, "*rows width"], weight: Float[Tensor, " width"], epsilon: float
) -> Float[Tensor, "*rows width"]:
    """Return the same, rounded before the scale, which is in float32, and behind it."""
    wide = hidden.float()
    normed = (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + epsilon)).to(hidden.dtype)
    return (weight * normed).to(hidden.dtype)


def turn(
    heads: Float[Tensor, "*rows heads head"],
    cosines: Float[Tensor, "... 1 head"],
    sines: Float[Tensor, "... 1 head"],
) -> Float[Tensor, "*rows heads head"]:
    """Turn queries or keys by their positions (rotary embedding, Su et al. 2021): x cos + (-x2, x1) sin.

    The first half of `sines` carries the minus sign, so that the halves are only swapped.
    """
    return torch.addcmul(heads * cosines, heads.roll(heads.shape[-1] // 2, -1), sines)


def turn_stepwise(
    heads: Float[Tensor, "*rows heads head"],
    cosines: Float[Tensor, "... 1 head"],
    sines: Float[Tensor, "... 1 head"],
) -> Float[Tensor, "*rows heads head"]:
    """Return the same as `turn`, both products rounded before they are added."""
    return heads * cosines + heads.roll(heads.shape[-1] // 2, -1) * sines


def gate(gate_up: Float[Tensor, "rows double"]) -> Float[Tensor, "rows inner"]:
    """Return silu(first half) * second half."""
    closed, through = gate_up.chunk(2, dim=-1)
    return torch.nn.functional.silu(closed) * through


def pointwise_for(device: torch.device, dtype: torch.dtype) -> Pointwise:
    """Return the steps as they run fastest where they needn't be rounded as published: on a GPU each compiled into one
    kernel, where Triton and a C compiler are.

    On a CPU compiling takes half a minute and saves nothing that a measurement shows: products and attention take the
    time there.
    """
    if device.type == "cuda":
        # Triton rounds sums like torch's own kernels; only the passes over memory are fewer.
        return Pointwise(norm=norm, turn=in_one_kernel(turn), gate=in_one_kernel(gate))
    if rounds_as_published(device, dtype):
        return Pointwise(norm=norm_stepwise, turn=turn_stepwise, gate=gate)
    return Pointwise(norm=norm, turn=turn, gate=gate)


def in_one_kernel(step: Step) -> Step:
    """Return a step on a GPU compiled, where that is possible here; otherwise as it is."""
    return cast(Step, torch.compile(step, dynamic=True)) if _can_compile() else step


@cache
def _can_compile() -> bool:
    """Tell whether Triton is here, and the C compiler and Python's headers that it builds its launchers with."""
    from torch.utils._triton import has_triton

    headers = Path(sysconfig.get_path("include"), "Python.h")
    return has_triton() and headers.is_file() and any(shutil.which(name) for name in ("cc", "gcc", "clang"))
