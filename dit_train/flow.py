"""Rectified flow: the straight path from image to noise, its loss and its solvers, as equations.

With noise level s in [0, 1] the path is z_s = (1 - s) x + s e (Liu et al., arXiv 2209.03003, equation 1, with time
running from the image), and its velocity dz/ds = e - x. Levels run like the sigmas of
FlowMatchEulerDiscreteScheduler: 1 is noise, 0 the image.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from dit_train.condition import NoisePredictor, TextCondition
from dit_train.sampling_config import FlowSolverName
from dit_train.transformer import TIME_SCALE

Images = Float[Tensor, "batch channel height width"]
Levels = Float[Tensor, " batch"]
Velocity = Callable[[Tensor, float], Tensor]
"""The right-hand side of dz/ds = v(z, s)."""


def interpolate(x: Images, noise: Images, level: Levels) -> Images:
    """Return z_s = (1 - s) x + s e (arXiv 2209.03003, equation 1)."""
    s = level[:, None, None, None]
    return (1 - s) * x + s * noise


def velocity_loss(
    model: NoisePredictor, x: Images, noise: Images, level: Levels, condition: TextCondition
) -> Float[Tensor, " batch"]:
    """Return |v(z_s, s, c) - (e - x)|^2 per sample, averaged over its pixels (arXiv 2209.03003, equation 1).

    A pure function: noise and level come in, nothing is drawn. Computed in float32.
    """
    z = interpolate(x, noise, level)
    (velocity,) = model(z, level * TIME_SCALE, condition.hidden, condition.mask, return_dict=False)
    return (velocity.float() - (noise - x)).square().mean(dim=(1, 2, 3))


def shift_levels(level: Tensor, shift: float) -> Tensor:
    """Move levels towards noise: s' = k s / (1 + (k - 1) s) (Esser et al., arXiv 2403.03206, equation 23)."""
    return shift * level / (1 + (shift - 1) * level)


def draw_levels(
    generator: torch.Generator, num_samples: int, logit_std: float, shift: float
) -> Float[Tensor, " batch"]:
    """Draw noise levels: logit-normal around one half (arXiv 2403.03206, section 3.1), then shifted once."""
    normal = torch.randn(num_samples, generator=generator, device=generator.device)
    return shift_levels(torch.sigmoid(logit_std * normal), shift)


def level_schedule(num_steps: int, shift: float) -> Float[Tensor, " levels"]:
    """Return num_steps + 1 levels from 1 to 0, even but for the shift, which is applied once.

    `FlowMatchEulerDiscreteScheduler.set_timesteps(num_steps)` without sigmas shifts a second time when shift is not 1
    and spends its last step below a thousandth; handed `linspace(1, 1 / num_steps, num_steps)` it equals this.
    """
    return shift_levels(torch.linspace(1, 0, num_steps + 1), shift)


def guided(conditional: Tensor, unconditional: Tensor, guidance: float) -> Tensor:
    """Return v_u + g (v_c - v_u), classifier-free guidance (Ho and Salimans, arXiv 2207.12598, equation 6)."""
    return unconditional + guidance * (conditional - unconditional)


def solve(velocity: Velocity, z: Tensor, levels: Tensor, solver: FlowSolverName = "euler") -> Tensor:
    """Integrate dz/ds = v(z, s) along `levels`.

    `euler` is of first order. `heun` is of second order and asks twice a step, but for the last, where the velocity
    at level 0 is no part of training (Karras et al., arXiv 2206.00364, algorithm 1).
    """
    steps = list(zip(levels[:-1].tolist(), levels[1:].tolist(), strict=True))
    for level, next_level in steps:
        step = next_level - level
        slope = velocity(z, level)
        if solver == "heun" and next_level > 0:
            slope = (slope + velocity(z + step * slope, next_level)) / 2
        z = z + step * slope
    return z
