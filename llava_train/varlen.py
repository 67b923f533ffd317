"""Attention over packed rows on a GPU: one kernel over samples of any lengths, with no mask in memory."""

import inspect
from collections.abc import Mapping
from typing import Any, cast

import torch
from jaxtyping import Float, Int32
from torch import Tensor, nn
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface, AttentionMaskInterface, LlamaConfig
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

VARLEN = "varlen"
"""torch's fused attention, and for packed rows its variable-length kernel. A mask over rows of 2048 tokens would take
4 MiB a row and keep torch from its fastest kernels.
"""
_OLDEST_CAPABILITY = (8, 0)
"""Compute capability that the kernel wants: Ampere's."""
_WIDEST_HEAD = 256
_KNOWS_GROUPED_HEADS = "enable_gqa" in inspect.signature(varlen_attn).parameters
"""torch 2.11 wants as many key heads as query heads."""


def register_varlen() -> str:
    """Make the attention known to transformers; return its name there."""
    AttentionInterface.register(VARLEN, attend)
    AttentionMaskInterface.register(VARLEN, sdpa_mask)
    return VARLEN


def kernel_serves(config: LlamaConfig, embeddings: Float[Tensor, "batch tokens features"]) -> bool:
    """Tell whether the variable-length kernel runs a language model on this device in this precision."""
    if embeddings.device.type != "cuda" or torch.version.hip is not None:
        return False
    head_width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    fits = head_width % 8 == 0 and head_width <= _WIDEST_HEAD
    half = embeddings.dtype in (torch.bfloat16, torch.float16)
    return half and fits and torch.cuda.get_device_capability(embeddings.device) >= _OLDEST_CAPABILITY


def kernel_arguments(sequence_starts: Int32[Tensor, " boundaries"], longest_tokens: int) -> Mapping[str, object]:
    """Return what a transformers language model hands on to the attention of each of its blocks."""
    return {
        # A mask of four axes counts as finished: transformers then builds none of its own, and nothing reads this one.
        "attention_mask": torch.empty(0, 0, 0, 0, device=sequence_starts.device),
        "cu_seq_lens_q": sequence_starts,
        "max_length_q": longest_tokens,
    }


def attend(  # noqa: PLR0913 - what transformers hands to an attention
    module: nn.Module,
    query: Float[Tensor, "batch heads queries head"],
    key: Float[Tensor, "batch groups keys head"],
    value: Float[Tensor, "batch groups keys head"],
    attention_mask: Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    cu_seq_lens_q: Int32[Tensor, " boundaries"] | None = None,
    max_length_q: int | None = None,
    **others: Any,
) -> tuple[Float[Tensor, "batch queries heads head"], None]:
    """Return attention's output: within each sample of packed rows where their starts are given, else torch's own."""
    if cu_seq_lens_q is None:
        mixed, _ = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, **others
        )
        return mixed, None
    assert dropout == 0.0, "dropout needs another implementation"
    options: dict[str, Any] = {
        "scale": scaling,
        "window_size": (-1 if sliding_window is None else sliding_window - 1, 0),
    }
    if _KNOWS_GROUPED_HEADS:
        options["enable_gqa"] = True
    else:
        group_size = query.shape[1] // key.shape[1]
        key, value = (heads.repeat_interleave(group_size, dim=1) for heads in (key, value))
    flat_query, flat_key, flat_value = (heads.transpose(1, 2).flatten(0, 1) for heads in (query, key, value))
    starts, longest = cu_seq_lens_q, cast(int, max_length_q)
    flat = varlen_attn(flat_query, flat_key, flat_value, starts, starts, longest, longest, **options)
    return cast(Tensor, flat).unflatten(0, (len(query), -1)), None
