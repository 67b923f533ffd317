"""What a text tower computes in training: `CLIP.encode_text` without padding and without what pooling throws away."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float, Int64
from open_clip.model import CLIP
from open_clip.transformer import CustomResidualAttentionBlock
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention

_POOLS_THE_END = ("eos", "argmax")
"""open_clip's names for pooling the end: by its id, or as the highest id of all."""


def encode_text(
    model: CLIP, token_ids: Int64[Tensor, "batch tokens"], lengths: Int64[Tensor, " batch"]
) -> Float[Tensor, "batch width"]:
    """Return `model.encode_text(token_ids)`; of a causal tower that pools each text's end at a fraction of the cost.

    Nothing up to the end of a text sees the padding after it, and in the last block only the end is asked for: its
    query and its MLP are computed there alone. `lengths` count the tokens up to and with the end. The released
    Recap-CLIP's towers see all slots and pool the last, so that padding is part of what they compute.
    """
    if sees_padding(model):
        return encode_rows(model.encode_text, token_ids)
    groups = group_by_length(lengths) if len(lengths) else [lengths]
    if _is_shared_out(model):
        # Ranks gather the weights together, as often for each: twice, whatever lengths one of them has.
        groups += [lengths.new_empty(0)] * (2 - len(groups))
    features = [
        _encode_columns(model, token_ids[rows], lengths[rows])
        if len(rows)
        # One text that nobody asked for.
        else _encode_columns(model, token_ids.new_zeros(1, 1), lengths.new_ones(1))[:0]
        for rows in groups
    ]
    return torch.cat(features)[torch.cat(groups).argsort()]


def encode_rows(encode: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    """Return what a tower makes of some rows, and of none at all too: attention can't cut nothing into heads."""
    return encode(rows) if len(rows) else encode(rows.new_zeros((1, *rows.shape[1:])))[:0]


def sees_padding(model: CLIP) -> bool:
    """Tell whether the slots after a text's end change its features."""
    return model.attn_mask is None or model.text_pool_type not in _POOLS_THE_END


def config_sees_padding(text_config: Mapping[str, Any]) -> bool:
    """Tell the same of a model that is not built, by open_clip's `text_cfg`."""
    pools_the_end = text_config.get("pool_type", "argmax") in _POOLS_THE_END
    return bool(text_config.get("no_causal_mask")) or not pools_the_end


def group_by_length(lengths: Int64[Tensor, " batch"]) -> list[Int64[Tensor, " _"]]:
    """Split row numbers into short and long texts, or not at all, so that the groups have the fewest cells in all.

    Mixed captions come in two lengths; padded to the longest, nine cells in ten of short ones would be padding.
    """
    order = lengths.argsort(stable=True)
    ascending = lengths[order].tolist()
    num_cells = [
        num_short * ascending[num_short - 1] + (len(ascending) - num_short) * ascending[-1]
        for num_short in range(1, len(ascending) + 1)
    ]
    num_short = max(count for count, cells in enumerate(num_cells, start=1) if cells == min(num_cells))
    return [rows for rows in (order[:num_short], order[num_short:]) if len(rows)]


def _is_shared_out(model: CLIP) -> bool:
    """Tell whether ranks share the weights out: then a block's are gathered when it is called as a whole."""
    return type(model.transformer.resblocks[-1].attn.in_proj_weight) is not nn.Parameter


def _encode_columns(
    model: CLIP, ids: Int64[Tensor, "batch tokens"], lengths: Int64[Tensor, " batch"]
) -> Float[Tensor, "batch width"]:
    num_columns = int(lengths.max())
    ids, mask = ids[:, :num_columns], model.attn_mask[:num_columns, :num_columns]
    hidden = model.token_embedding(ids) + model.positional_embedding[:num_columns]
    *blocks, last_block = model.transformer.resblocks
    for block in blocks:
        hidden = block(hidden, attn_mask=mask)
    if _is_shared_out(model):
        ends = last_block(hidden, attn_mask=mask)[torch.arange(len(ids), device=ids.device), lengths - 1]
    else:
        ends = _block_at_ends(last_block, hidden, lengths)
    return model.ln_final(ends) @ model.text_projection


def _block_at_ends(
    block: CustomResidualAttentionBlock | Any,
    hidden: Float[Tensor, "batch tokens width"],
    lengths: Int64[Tensor, " batch"],
) -> Float[Tensor, "batch width"]:
    """Return what a causal block makes of each text's last token."""
    batch, num_columns, width = hidden.shape
    heads = block.attn.num_heads
    rows, columns = torch.arange(batch, device=hidden.device), torch.arange(num_columns, device=hidden.device)
    normed = block.ln_1(hidden)
    query_weight, other_weight = block.attn.in_proj_weight.split([width, 2 * width])
    query_bias, other_bias = block.attn.in_proj_bias.split([width, 2 * width])
    query = linear(normed[rows, lengths - 1], query_weight, query_bias).view(batch, heads, 1, -1)
    keys, values = (
        linear(normed, other_weight, other_bias).view(batch, num_columns, 2, heads, -1).permute(2, 0, 3, 1, 4)
    )
    within = (columns < lengths[:, None])[:, None, None, :]
    mixed = scaled_dot_product_attention(query, keys, values, attn_mask=within).reshape(batch, width)
    ends = hidden[rows, lengths - 1] + block.ls_1(block.ln_attn(block.attn.out_proj(mixed)))
    return ends + block.ls_2(block.mlp(block.ln_2(ends)))
