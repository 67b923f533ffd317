"""What passes between text encoder, transformer and objectives."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class TextCondition:
    """Encoded captions, as the transformer reads them."""

    hidden: Float[Tensor, "batch token text_width"]
    mask: Bool[Tensor, "batch token"]


@runtime_checkable
class NoisePredictor(Protocol):
    """What a loss needs of a model: `dit_train.transformer.TextDiT` and everything wrapped around it."""

    def __call__(
        self,
        hidden_states: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor,
        encoder_attention_mask: Tensor,
        *,
        return_dict: bool,
    ) -> tuple[Tensor]:
        """Return the prediction as the only member of a tuple."""
