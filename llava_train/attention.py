"""Attention for training small models on a CPU, registered with transformers under a name of its own."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

from runtime.device import attention_implementation

LEAN = "lean"
"""Plain matrix products with scale and mask folded into them and the softmax stored in the compute type.

transformers' own "eager" makes four passes more over every score matrix, two of them in float32: a tenth of a training
step here.
"""


def captioner_attention(device: torch.device) -> str:
    """Return the name of the attention to load a captioner with: ours where plain matrix products are fastest."""
    chosen = attention_implementation(device)
    if chosen != "eager":
        return chosen
    AttentionInterface.register(LEAN, _attend)
    AttentionMaskInterface.register(LEAN, eager_mask)
    return LEAN


def _attend(
    module: nn.Module,
    query: Float[Tensor, "batch heads queries head"],
    key: Float[Tensor, "batch groups keys head"],
    value: Float[Tensor, "batch groups keys head"],
    attention_mask: Float[Tensor, "#batch 1 queries keys"] | None,
    scaling: float,
    dropout: float = 0.0,
    **_: object,
) -> tuple[Float[Tensor, "batch queries heads head"], None]:
    """Return attention's output. softmax(q k / sqrt(d) + mask) v; torch sums the softmax in float32 whatever its type.

    Where key and value heads are fewer, each serves a group of neighbouring query heads. No model here has attention
    dropout.
    """
    assert dropout == 0.0, "dropout needs another implementation"
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
