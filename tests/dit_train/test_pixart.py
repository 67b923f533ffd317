"""adaLN-single is PixArt's transformer: with its weights ours predicts what diffusers' own predicts."""

import torch
from diffusers import PixArtTransformer2DModel
from torch import Tensor

from dit_train.transformer import TextDiT

WIDTH, HEADS, DEPTH, PATCH, CHANNELS, OUT_CHANNELS, TEXT_WIDTH, GRID = 32, 2, 2, 2, 4, 8, 24, 4


def theirs() -> PixArtTransformer2DModel:
    torch.manual_seed(0)
    return PixArtTransformer2DModel(
        sample_size=GRID * PATCH, in_channels=CHANNELS, out_channels=OUT_CHANNELS, patch_size=PATCH, num_layers=DEPTH,
        num_attention_heads=HEADS, attention_head_dim=WIDTH // HEADS, cross_attention_dim=WIDTH,
        caption_channels=TEXT_WIDTH,
    ).eval()  # fmt: skip


def ours() -> TextDiT:
    return TextDiT(
        sample_size=GRID * PATCH, in_channels=CHANNELS, out_channels=OUT_CHANNELS, patch_size=PATCH, depth=DEPTH,
        width=WIDTH, num_heads=HEADS, text_width=TEXT_WIDTH, form="adaln_single", gelu="tanh",
    ).eval()  # fmt: skip


def translated(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return PixArt's weights under our names, patches as we cut them: channel before row before column."""
    renamed = {
        "patch_in.weight": state["pos_embed.proj.weight"].flatten(1),
        "patch_in.bias": state["pos_embed.proj.bias"],
        "modulation_out_table": state["scale_shift_table"],
    }
    for kind in ("weight", "bias"):
        out = state[f"proj_out.{kind}"].unflatten(0, (PATCH, PATCH, OUT_CHANNELS))
        renamed[f"head.0.{kind}"] = out.movedim(2, 0).flatten(0, 2)
        for index in (1, 2):
            layer = f"timestep_embedder.linear_{index}.{kind}"
            renamed[f"time_in.{2 * index - 2}.{kind}"] = state[f"adaln_single.emb.{layer}"]
            renamed[f"text_in.{2 * index - 2}.{kind}"] = state[f"caption_projection.linear_{index}.{kind}"]
        renamed[f"modulation_in.{kind}"] = state[f"adaln_single.linear.{kind}"]
    for index in range(DEPTH):
        renamed |= _translated_block(state, f"transformer_blocks.{index}.", f"blocks.{index}.")
    return renamed


def _translated_block(state: dict[str, Tensor], theirs: str, ours: str) -> dict[str, Tensor]:
    renamed = {f"{ours}modulation_table": state[f"{theirs}scale_shift_table"]}
    for kind in ("weight", "bias"):
        part = {name: state[f"{theirs}{name}.{kind}"] for name in (
            "attn1.to_q", "attn1.to_k", "attn1.to_v", "attn1.to_out.0", "attn2.to_q", "attn2.to_k", "attn2.to_v",
            "attn2.to_out.0", "ff.net.0.proj", "ff.net.2",
        )}  # fmt: skip
        renamed |= {
            f"{ours}query_key_value.{kind}": torch.cat([part["attn1.to_q"], part["attn1.to_k"], part["attn1.to_v"]]),
            f"{ours}attention_out.{kind}": part["attn1.to_out.0"],
            f"{ours}text_query.{kind}": part["attn2.to_q"],
            f"{ours}text_key_value.{kind}": torch.cat([part["attn2.to_k"], part["attn2.to_v"]]),
            f"{ours}text_out.{kind}": part["attn2.to_out.0"],
            f"{ours}mlp_in.{kind}": part["ff.net.0.proj"],
            f"{ours}mlp_out.{kind}": part["ff.net.2"],
        }
    return renamed


@torch.no_grad()
def test_with_pixarts_weights_the_prediction_is_pixarts() -> None:
    reference, model = theirs(), ours()
    model.load_state_dict(translated(reference.state_dict()))
    # The same positions in another order of rows and columns, over a base grid of another size.
    model.positions = reference.pos_embed.pos_embed[0]
    latents, timestep = torch.randn(2, CHANNELS, GRID * PATCH, GRID * PATCH), torch.tensor([17.0, 900.0])
    text, mask = torch.randn(2, 5, TEXT_WIDTH), torch.tensor([[True] * 5, [True, True, False, False, False]])
    wanted = reference(latents, text, timestep=timestep, encoder_attention_mask=mask, return_dict=False)[0]
    (found,) = model(latents, timestep, text, mask, return_dict=False)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    assert wanted.abs().mean() > 0.1
