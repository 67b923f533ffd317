"""What a plan is reckoned for."""

from dataclasses import dataclass

from runtime.errors import UserError
from runtime.hardware import AcceleratorName


@dataclass(frozen=True, kw_only=True)
class PlanConfig:
    """Say on what a run would be trained, and with what text encoder and data that need not be there yet."""

    gpu: AcceleratorName = "H100-80GB"
    """Accelerator by its name here."""
    num_gpus: int = 8
    """How many of them."""
    mfu: float = 0.3
    """Share of the accelerators' peak that useful work reaches."""
    num_images: int = 1_000_000
    """Images of the data set, which are encoded once."""
    text_tokens: int = 77
    """Slots of the text encoder's context."""
    text_width: int = 768
    """Width of its hidden states: CLIP-L's."""
    text_layers: int = 12
    """Its layers: CLIP-L's."""

    def __post_init__(self) -> None:
        for name, value in [
            ("num_gpus", self.num_gpus),
            ("num_images", self.num_images),
            ("text_tokens", self.text_tokens),
            ("text_width", self.text_width),
            ("text_layers", self.text_layers),
        ]:
            if value < 1:
                raise UserError("out of range", where=name, found=value, wanted="1 or more")
        if not 0 < self.mfu <= 1:
            raise UserError("out of range", where="mfu", found=self.mfu, wanted="a share in (0, 1]")
