"""Weights of diffusers' `PixArtTransformer2DModel` under the names of ours, which then predicts the same."""

from collections.abc import Mapping

import torch
from torch import Tensor


def translated(state: Mapping[str, Tensor], *, depth: int, patch_size: int, out_channels: int) -> dict[str, Tensor]:
    """Return PixArt's weights under our names, patches as we cut them: channel before row before column."""
    renamed = {
        "patch_in.weight": state["pos_embed.proj.weight"].flatten(1),
        "patch_in.bias": state["pos_embed.proj.bias"],
        "modulation_out_table": state["scale_shift_table"],
    }
    for kind in ("weight", "bias"):
        out = state[f"proj_out.{kind}"].unflatten(0, (patch_size, patch_size, out_channels))
        renamed[f"head.0.{kind}"] = out.movedim(2, 0).flatten(0, 2)
        for index in (1, 2):
            layer = f"timestep_embedder.linear_{index}.{kind}"
            renamed[f"time_in.{2 * index - 2}.{kind}"] = state[f"adaln_single.emb.{layer}"]
            renamed[f"text_in.{2 * index - 2}.{kind}"] = state[f"caption_projection.linear_{index}.{kind}"]
        renamed[f"modulation_in.{kind}"] = state[f"adaln_single.linear.{kind}"]
    for index in range(depth):
        renamed |= _translated_block(state, f"transformer_blocks.{index}.", f"blocks.{index}.")
    return renamed


def _translated_block(state: Mapping[str, Tensor], theirs: str, ours: str) -> dict[str, Tensor]:
    renamed = {f"{ours}modulation_table": state[f"{theirs}scale_shift_table"]}
    for kind in ("weight", "bias"):
        own, text = (
            [state[f"{theirs}{attention}.{layer}.{kind}"] for layer in ("to_q", "to_k", "to_v", "to_out.0")]
            for attention in ("attn1", "attn2")
        )
        renamed |= {
            f"{ours}query_key_value.{kind}": torch.cat(own[:3]),
            f"{ours}attention_out.{kind}": own[3],
            f"{ours}text_query.{kind}": text[0],
            f"{ours}text_key_value.{kind}": torch.cat(text[1:3]),
            f"{ours}text_out.{kind}": text[3],
            f"{ours}mlp_in.{kind}": state[f"{theirs}ff.net.0.proj.{kind}"],
            f"{ours}mlp_out.{kind}": state[f"{theirs}ff.net.2.{kind}"],
        }
    return renamed
