"""The two ways of training, behind one face: levels are drawn, noise and level come in, a loss per image goes out."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from jaxtyping import Float
from torch import Tensor

from dit_train import ddpm
from dit_train.condition import NoisePredictor, TextCondition
from dit_train.flow import draw_levels, velocity_loss
from dit_train.objective_config import NoiseConfig, ObjectiveConfig
from dit_train.transformer import TIME_SCALE

Images = Float[Tensor, "batch channel height width"]
Levels = Float[Tensor, " batch"]
Scheduler = FlowMatchEulerDiscreteScheduler | DDPMScheduler

DIFFUSERS_PREDICTIONS = {"epsilon": "epsilon", "velocity": "v_prediction"}


@runtime_checkable
class Objective(Protocol):
    """What the task needs to know of a way of training."""

    @property
    def outputs_per_channel(self) -> int:
        """Return how many channels the network gives for each of the image's."""

    def draw_levels(self, generator: torch.Generator, num_samples: int) -> Levels:
        """Draw noise levels in [0, 1], where 1 is noise."""

    def loss(
        self, model: NoisePredictor, x: Images, noise: Images, level: Levels, condition: TextCondition
    ) -> Float[Tensor, " batch"]:
        """Return each image's loss; nothing is drawn."""

    def scheduler(self) -> Scheduler:
        """Return the schedule of an exported folder, the one that was trained with."""


@dataclass(frozen=True, kw_only=True)
class FlowObjective:
    """Rectified flow: see `dit_train.flow`."""

    logit_std: float
    shift: float
    outputs_per_channel: int = 1

    def draw_levels(self, generator: torch.Generator, num_samples: int) -> Levels:
        """Draw shifted logit-normal levels."""
        return draw_levels(generator, num_samples, self.logit_std, self.shift)

    def loss(
        self, model: NoisePredictor, x: Images, noise: Images, level: Levels, condition: TextCondition
    ) -> Float[Tensor, " batch"]:
        """Return the velocity's squared error."""
        return velocity_loss(model, x, noise, level, condition)

    def scheduler(self) -> FlowMatchEulerDiscreteScheduler:
        """Return diffusers' schedule with the shift that was trained with."""
        return FlowMatchEulerDiscreteScheduler(num_train_timesteps=int(TIME_SCALE), shift=self.shift)


@dataclass(frozen=True, kw_only=True)
class DdpmObjective:
    """Denoising diffusion on the linear schedule: see `dit_train.ddpm`."""

    prediction: ddpm.PredictionName
    learned_sigma: bool

    @property
    def outputs_per_channel(self) -> int:
        """Return 2 where the variance is learned."""
        return 1 + self.learned_sigma

    def draw_levels(self, generator: torch.Generator, num_samples: int) -> Levels:
        """Draw steps evenly; a level is a step's number over their count."""
        steps = torch.randint(ddpm.NUM_TIMESTEPS, (num_samples,), generator=generator, device=generator.device)
        return steps / ddpm.NUM_TIMESTEPS

    def loss(
        self, model: NoisePredictor, x: Images, noise: Images, level: Levels, condition: TextCondition
    ) -> Float[Tensor, " batch"]:
        """Return the prediction's squared error, and the variance's term of the bound where it is learned."""
        timestep = (level * ddpm.NUM_TIMESTEPS).round().long()
        z = ddpm.diffuse(x, noise, timestep)
        (output,) = model(z, timestep.float(), condition.hidden, condition.mask, return_dict=False)
        prediction, variance = output.float().split([x.shape[1], output.shape[1] - x.shape[1]], dim=1)
        loss = ddpm.simple_loss(prediction, x, noise, timestep, self.prediction)
        if not self.learned_sigma:
            return loss
        return loss + ddpm.bound_loss(prediction, variance, x, z, timestep, self.prediction)

    def scheduler(self) -> DDPMScheduler:
        """Return diffusers' schedule with the steps that were trained with, spaced as DiT respaces them."""
        return DDPMScheduler(
            num_train_timesteps=ddpm.NUM_TIMESTEPS,
            beta_start=ddpm.BETA_START,
            beta_end=ddpm.BETA_END,
            beta_schedule="linear",
            prediction_type=DIFFUSERS_PREDICTIONS[self.prediction],
            variance_type="learned_range" if self.learned_sigma else "fixed_large",
            clip_sample=False,
            timestep_spacing="linspace",
        )


def build_objective(config: ObjectiveConfig, noise: NoiseConfig) -> Objective:
    """Return the way of training that a config asks for."""
    if config.path == "ddpm":
        return DdpmObjective(prediction=config.prediction, learned_sigma=config.learned_sigma)
    return FlowObjective(logit_std=noise.logit_std, shift=noise.shift)
