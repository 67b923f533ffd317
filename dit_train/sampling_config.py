"""How pictures are drawn."""

from dataclasses import dataclass
from typing import Literal

from runtime.errors import UserError

FlowSolverName = Literal["euler", "heun"]
DiffusionSolverName = Literal["ddpm", "ddim", "dpm_solver"]
SolverName = FlowSolverName | DiffusionSolverName


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """How images are drawn."""

    guidance: float = 3.0
    """Classifier-free guidance; 1 is the conditional model alone, at half the cost."""
    num_steps: int = 10
    """Steps from noise to image."""
    solver: SolverName | None = None
    """For path flow, euler (one evaluation a step) or heun (two, for an error that falls with the square of the step);
    for path ddpm, ddpm (noise at every step), ddim, or dpm_solver (second order). Null takes the path's first.
    """
    guidance_levels: tuple[float, float] = (0.0, 1.0)
    """Noise levels between which guidance acts; elsewhere the conditional model is alone (arXiv 2404.07724)."""
    batch_size: int = 64
    """Prompts drawn at once."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16 runs the transformer under autocast."""
    fixed_shapes: bool = False
    """Fill up every batch and pad every prompt: an image then depends on its batch not even in its last bit, since
    matrix products of equal shapes round alike.
    """

    def __post_init__(self) -> None:
        if self.guidance < 0:
            raise UserError("guidance", found=self.guidance, wanted="0 or more")
        if self.num_steps < 1:
            raise UserError("num_steps", found=self.num_steps, wanted="1 or more")
        if self.batch_size < 1:
            raise UserError("batch_size", found=self.batch_size, wanted="1 or more")
        low, high = self.guidance_levels
        if not 0 <= low < high <= 1:
            raise UserError("guidance_levels", found=[low, high], wanted="two rising levels in [0, 1]")

    def guides(self, level: float) -> bool:
        """Tell whether guidance acts at a noise level."""
        low, high = self.guidance_levels
        return low <= level <= high
