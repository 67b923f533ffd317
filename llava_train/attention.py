"""Attention for captioners, registered with transformers under names of its own: on a CPU plain matrix products."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, LlavaForConditionalGeneration
from transformers.masking_utils import eager_mask

from llava_train.parts import language_config
from llava_train.varlen import register_varlen
from runtime.device import attention_implementation
from runtime.errors import UserError

LEAN = "lean"
"""Plain matrix products with scale and mask folded into them and the softmax stored in the compute type.

transformers' own "eager" makes four passes more over every score matrix, two of them in float32: a tenth of a training
step here.
"""

PACKABLE_TYPES = ("llama", "mistral", "phi3", "qwen2", "qwen3")
"""Language models that were seen to keep the samples of a row apart; others may read positions or state across them."""


def captioner_attention(device: torch.device) -> str:
    """Return the name of the attention to load a captioner with: on a CPU plain matrix products are fastest."""
    if attention_implementation(device) != "eager":
        return register_varlen()
    AttentionInterface.register(LEAN, _attend)
    AttentionMaskInterface.register(LEAN, eager_mask)
    return LEAN


def require_packable(llava: LlavaForConditionalGeneration) -> None:
    """Raise UserError unless the language model is known to keep the samples of a packed row apart."""
    found = language_config(llava).model_type
    if found not in PACKABLE_TYPES:
        raise UserError(
            "packing was never tried with this language model",
            where="packing",
            found=found,
            wanted=" or ".join(PACKABLE_TYPES),
            fix="Set packing: false, or add the type to PACKABLE_TYPES once its test passes",
        )


def _attend(
    module: nn.Module,
    query: Float[Tensor, "batch heads queries head"],
    key: Float[Tensor, "batch groups keys head"],
    value: Float[Tensor, "batch groups keys head"],
    attention_mask: Float[Tensor, "#batch 1 queries keys"] | None,
    scaling: float,
    dropout: float = 0.0,
    softcap: float | None = None,
    **_: object,
) -> tuple[Float[Tensor, "batch queries heads head"], None]:
    """Return attention's output. softmax(q k / sqrt(d) + mask) v; torch sums the softmax in float32 whatever its type.

    Where key and value heads are fewer, each serves a group of neighbouring query heads. No model here has attention
    dropout or caps its scores.
    """
    assert dropout == 0.0, "dropout needs another implementation"
    assert softcap is None, "capped scores need another implementation"
    group_size = query.shape[1] // key.shape[1]
    if group_size > 1:
        key, value = (heads.repeat_interleave(group_size, dim=1) for heads in (key, value))
    left, right = (query * scaling).flatten(0, 1), key.flatten(0, 1).mT
    if attention_mask is None:
        scores = torch.bmm(left, right)
    else:
        # One mask for all rows is broadcast; a mask for each row is laid out head by head.
        mask = attention_mask if len(attention_mask) == 1 else attention_mask.expand(-1, query.shape[1], -1, -1)
        scores = torch.baddbmm(mask.to(left.dtype).flatten(0, 1), left, right)
    mixed = torch.bmm(scores.softmax(-1), value.flatten(0, 1))
    return mixed.unflatten(0, query.shape[:2]).transpose(1, 2).contiguous(), None
