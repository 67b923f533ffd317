"""Attention of decoding: a prompt to itself, and few tokens to what is cached of their slot."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from llava_train.decoding.pointwise import rounds_as_published

Heads = Float[Tensor, "rows heads queries head"]
Groups = Float[Tensor, "rows groups places head"]


def attend_causally(
    queries: Float[Tensor, "rows heads tokens head"],
    keys: Float[Tensor, "rows groups tokens head"],
    values: Float[Tensor, "rows groups tokens head"],
) -> Float[Tensor, "rows heads tokens head"]:
    """Return the attention of a sequence to itself: by torch's fused kernel, or as published models are run here."""
    if rounds_as_published(queries.device, queries.dtype):
        num_heads, num_tokens = queries.shape[1:3]
        seen = torch.ones(num_tokens, num_tokens, dtype=torch.bool).tril().expand(len(queries), -1, -1)
        mask = mask_for(seen, num_heads=num_heads, num_groups=keys.shape[1], dtype=queries.dtype)
        return attend_to_places(queries, keys, values, mask)
    grouped = queries.shape[1] != keys.shape[1]
    return scaled_dot_product_attention(queries, keys, values, is_causal=True, enable_gqa=grouped)


def attend_to_places(queries: Heads, keys: Groups, values: Groups, mask: Float[Tensor, "..."]) -> Heads:
    """Return softmax(q k / sqrt(d) + mask) v; `mask` comes from `mask_for`.

    The query heads of a group stand beside each other as if they were queries of one head: keys and values are read
    once for all of them, and never repeated in memory.
    """
    num_rows, num_heads, num_queries, head_width = queries.shape
    num_groups = keys.shape[1]
    stacked = (queries * head_width**-0.5).reshape(num_rows * num_groups, -1, head_width)
    scores = torch.baddbmm(mask, stacked, keys.flatten(0, 1).mT)
    mixed = torch.bmm(scores.softmax(-1), values.flatten(0, 1))
    return mixed.view(num_rows, num_heads, num_queries, head_width)


def mask_for(
    seen: Bool[Tensor, "rows queries places"], *, num_heads: int, num_groups: int, dtype: torch.dtype
) -> Float[Tensor, "rows_groups stacked places"]:
    """Return what `attend_to_places` adds to scores: zero where a query sees a place, minus infinity elsewhere."""
    mask = torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill(~seen, -torch.inf)
    if seen.shape[1] > 1:
        mask = mask.repeat(1, num_heads // num_groups, 1)
    return mask.repeat_interleave(num_groups, dim=0)
