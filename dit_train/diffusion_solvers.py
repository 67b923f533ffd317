"""Solvers of denoising diffusion, by diffusers' schedulers on the schedule that was trained with."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from torch import Tensor

from dit_train.ddpm import NUM_TIMESTEPS
from dit_train.sampling_config import DiffusionSolverName
from runtime.errors import UserError

Prediction = Callable[[Tensor, float], Tensor]
"""From a noisy image and its timestep to noise or velocity, with the learned variance behind it where there is one."""

_SPACED = {"timestep_spacing": "trailing"}
# Both start at the noisiest step and reach the image itself, whatever the number of steps.
_DETERMINISTIC: Mapping[str, tuple[Any, Mapping[str, object]]] = {
    "ddim": (DDIMScheduler, _SPACED | {"clip_sample": False, "set_alpha_to_one": True}),
    "dpm_solver": (
        DPMSolverMultistepScheduler,
        _SPACED | {"algorithm_type": "dpmsolver++", "solver_order": 2, "final_sigmas_type": "zero"},
    ),
}
_SHARED = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "prediction_type")


def build_scheduler(trained: DDPMScheduler, solver: DiffusionSolverName, num_steps: int) -> Any:
    """Return a solver on the trained schedule, set to a number of steps.

    ddpm draws noise at every step (arXiv 2006.11239, algorithm 2, at DiT's evenly spread steps); ddim (arXiv
    2010.02502, equation 12, without noise) is of first order and dpm_solver (DPM-Solver++ 2M, arXiv 2211.01095) of
    second. Raises UserError for a number of steps that the solver has no even spread for.
    """
    if num_steps > NUM_TIMESTEPS:
        raise UserError("num_steps", found=num_steps, wanted=f"at most {NUM_TIMESTEPS}, the steps of training")
    if solver == "ddim" and NUM_TIMESTEPS % num_steps:
        # diffusers' DDIM counts steps back by a whole number, whatever the next timestep is.
        raise UserError("num_steps", found=num_steps, wanted=f"a divisor of {NUM_TIMESTEPS} for solver ddim")
    config = dict(trained.config)
    if solver == "ddpm":
        scheduler = DDPMScheduler.from_config(config)
    else:
        solver_class, options = _DETERMINISTIC[solver]
        scheduler = solver_class(**{name: config[name] for name in _SHARED}, **options)
    scheduler.set_timesteps(num_steps)
    return scheduler


def denoise(predict: Prediction, z: Tensor, scheduler: Any, generators: Sequence[torch.Generator]) -> Tensor:
    """Carry noise to images along a scheduler's steps.

    Each image's further noise comes from its own generator, so that it does not depend on its batch.
    """
    channels = z.shape[1]
    draws = isinstance(scheduler, DDPMScheduler)
    options = {"generator": list(generators)} if draws else {}
    for timestep in scheduler.timesteps:
        output = predict(z, float(timestep))
        if not draws:
            output = output[:, :channels]
        z = scheduler.step(output, timestep, z, **options).prev_sample
    return z
