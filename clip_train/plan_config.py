"""What a plan is reckoned for."""

from dataclasses import dataclass

from runtime.errors import UserError
from runtime.hardware import AcceleratorName


@dataclass(frozen=True, kw_only=True)
class PlanConfig:
    """Say on what a run would be trained."""

    gpu: AcceleratorName = "H100-80GB"
    """Accelerator by its name here."""
    num_gpus: int = 8
    """How many of them."""
    mfu: float = 0.4
    """Share of the accelerators' peak that useful work reaches."""
    caption_tokens: float = 24.0
    """Tokens of an average caption, special tokens included; counts for models that leave padding out."""

    def __post_init__(self) -> None:
        if self.num_gpus < 1:
            raise UserError("out of range", where="num_gpus", found=self.num_gpus, wanted="1 or more")
        if not 0 < self.mfu <= 1:
            raise UserError("out of range", where="mfu", found=self.mfu, wanted="a share in (0, 1]")
        if self.caption_tokens < 2:
            raise UserError("out of range", where="caption_tokens", found=self.caption_tokens, wanted="2 or more")
