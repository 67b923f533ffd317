"""What a transformer is trained to predict, and at which noise levels."""

from dataclasses import dataclass
from typing import Literal

from runtime.errors import UserError


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """The path from image to noise, and what is predicted on it."""

    path: Literal["flow", "ddpm"] = "flow"
    """flow: the straight path, at any level. ddpm: the thousand steps of the linear schedule, as in DiT."""
    prediction: Literal["velocity", "epsilon"] = "velocity"
    """What the network gives: the path's velocity, or (ddpm alone) the noise, as in DiT."""
    learned_sigma: bool = False
    """Learn the variance of each step too, in further channels (ddpm alone), as in DiT."""

    def __post_init__(self) -> None:
        if self.path == "ddpm":
            return
        if self.prediction != "velocity":
            # Sampling starts at pure noise, where a known noise says nothing of the velocity.
            wanted = "velocity, or path ddpm"
            raise UserError(
                "no such prediction on this path", where="objective.prediction", found=self.prediction, wanted=wanted
            )
        if self.learned_sigma:
            wanted = "false, or path ddpm"
            raise UserError("no variance on this path", where="objective.learned_sigma", found=True, wanted=wanted)


@dataclass(frozen=True, kw_only=True)
class NoiseConfig:
    """Which noise levels training visits; sampling shares the shift."""

    logit_std: float = 1.0
    """Spread of the logit-normal the levels are drawn from (arXiv 2403.03206, section 3.1); small keeps them near one
    half. For path flow.
    """
    shift: float = 1.0
    """Above 1 moves levels towards noise, in training and in sampling alike. For path flow."""
    draws_per_image: int = 1
    """Times an image is noised in an update, its caption read once; the image's loss is their average."""

    def __post_init__(self) -> None:
        if not self.logit_std > 0:
            raise UserError("no such spread", where="noise.logit_std", found=self.logit_std, wanted="more than 0")
        if not self.shift > 0:
            raise UserError("no such shift", where="noise.shift", found=self.shift, wanted="more than 0")
        if self.draws_per_image < 1:
            raise UserError(
                "out of range", where="noise.draws_per_image", found=self.draws_per_image, wanted="1 or more"
            )
