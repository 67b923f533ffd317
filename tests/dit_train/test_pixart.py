"""adaLN-single is PixArt's transformer: with its weights ours predicts what diffusers' own predicts."""

import torch
from diffusers import PixArtTransformer2DModel

from benchmarks.pixart_weights import translated
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


@torch.no_grad()
def test_with_pixarts_weights_the_prediction_is_pixarts() -> None:
    reference, model = theirs(), ours()
    model.load_state_dict(translated(reference.state_dict(), depth=DEPTH, patch_size=PATCH, out_channels=OUT_CHANNELS))
    # The same positions in another order of rows and columns, over a base grid of another size.
    model.positions = reference.pos_embed.pos_embed[0]
    latents, timestep = torch.randn(2, CHANNELS, GRID * PATCH, GRID * PATCH), torch.tensor([17.0, 900.0])
    text, mask = torch.randn(2, 5, TEXT_WIDTH), torch.tensor([[True] * 5, [True, True, False, False, False]])
    wanted = reference(latents, text, timestep=timestep, encoder_attention_mask=mask, return_dict=False)[0]
    (found,) = model(latents, timestep, text, mask, return_dict=False)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    assert wanted.abs().mean() > 0.1
