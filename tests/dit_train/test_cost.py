"""The published sizes, against the numbers that were published for them and a model of another library."""

import pytest
import torch
from diffusers import PixArtTransformer2DModel

from dit_train.cost import FLOPS_PER_MAC, Geometry, forward_macs
from dit_train.sizes import SIZES, SizeName
from dit_train.transformer import TextDiT
from runtime.flops import FlopLedger

LATENT_SIZE, CHANNELS, CLIP_L_TOKENS, CLIP_L_WIDTH = 32, 4, 77, 768
NUM_CLASSES = 1001
"""ImageNet's and the empty one."""
PUBLISHED: dict[SizeName, tuple[float, int]] = {
    "S/8": (0.36, 33), "S/4": (1.41, 33), "S/2": (6.06, 33),
    "B/8": (1.42, 131), "B/4": (5.56, 130), "B/2": (23.01, 130),
    "L/8": (5.01, 459), "L/4": (19.70, 458), "L/2": (80.71, 458),
    "XL/8": (7.39, 676), "XL/4": (29.05, 675), "XL/2": (118.64, 675),
}  # fmt: skip
"""Class-conditional DiT: "Gflops", which are multiply-accumulates, and millions of parameters (arXiv 2212.09748,
Table 4)."""


def geometry(form: str = "adaln_zero") -> Geometry:
    return Geometry(
        grid_size=LATENT_SIZE,
        in_channels=CHANNELS,
        out_channels=2 * CHANNELS,
        text_tokens=CLIP_L_TOKENS,
        text_width=CLIP_L_WIDTH,
        form=form,
    )


def published_model(name: SizeName, form: str = "adaln_zero") -> TextDiT:
    size = SIZES[name]
    with torch.device("meta"):
        return TextDiT(
            sample_size=LATENT_SIZE, in_channels=CHANNELS, out_channels=2 * CHANNELS, text_width=CLIP_L_WIDTH,
            patch_size=size.patch_size, width=size.width, depth=size.depth, num_heads=size.num_heads,
            gelu=size.gelu, form=form,
        )  # fmt: skip


def num_parameters(model: torch.nn.Module, *, with_text: bool = True) -> int:
    named = model.named_parameters()
    return sum(weight.numel() for name, weight in named if with_text or "text_" not in name)


def pixart(name: SizeName) -> PixArtTransformer2DModel:
    size = SIZES[name]
    with torch.device("meta"):
        return PixArtTransformer2DModel(
            sample_size=LATENT_SIZE, in_channels=CHANNELS, out_channels=2 * CHANNELS, patch_size=size.patch_size,
            num_layers=size.depth, num_attention_heads=size.num_heads,
            attention_head_dim=size.width // size.num_heads, cross_attention_dim=size.width,
            caption_channels=CLIP_L_WIDTH,
        )  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_without_text_the_sizes_are_the_published_ones(name: SizeName) -> None:
    """Weights and work that have nothing to do with text are class-conditional DiT's, but for its table of classes."""
    gigamacs, millions = PUBLISHED[name]
    # The table gives two decimals.
    assert forward_macs(SIZES[name], geometry()).image / 1e9 == pytest.approx(gigamacs, rel=0.002, abs=0.005)
    weights = num_parameters(published_model(name), with_text=False) + NUM_CLASSES * SIZES[name].width
    assert weights / 1e6 == pytest.approx(millions, abs=0.7)


@pytest.mark.parametrize(("name", "millions"), [("B/4", 158), ("L/2", 557)])
def test_adaln_zero_with_cross_attention_has_its_parameters(name: SizeName, millions: int) -> None:
    """DiT's own, four d x d layers a block for cross-attention, and a normalised projection of the text."""
    model, width = published_model(name), SIZES[name].width
    cross_attention = SIZES[name].depth * 4 * (width**2 + width)
    projection = 2 * CLIP_L_WIDTH + CLIP_L_WIDTH * width + width
    assert num_parameters(model) == num_parameters(model, with_text=False) + cross_attention + projection
    assert (num_parameters(model) - projection) // 10**6 == millions


@pytest.mark.parametrize(("name", "millions"), [("B/4", 119.0), ("L/2", 412.6)])
def test_adaln_single_has_the_parameters_of_pixart(name: SizeName, millions: float) -> None:
    count = num_parameters(published_model(name, "adaln_single"))
    assert count == num_parameters(pixart(name))
    assert count / 1e6 == pytest.approx(millions, abs=0.1)  # whether or not the variance is learned


@pytest.mark.parametrize("form", ["adaln_zero", "adaln_single"])
@pytest.mark.parametrize("name", ["S/8", "B/4", "L/2"])
def test_the_reckoned_work_is_what_the_ledger_counts(name: SizeName, form: str) -> None:
    model, ledger = published_model(name, form), FlopLedger()
    with torch.device("meta"):
        image, timestep = torch.zeros(1, CHANNELS, LATENT_SIZE, LATENT_SIZE), torch.zeros(1)
        text = torch.zeros(1, CLIP_L_TOKENS, CLIP_L_WIDTH)
        mask = torch.ones(1, CLIP_L_TOKENS, dtype=torch.bool)
    memory = ledger.measure(lambda: model.read_text(text, mask))
    macs = forward_macs(SIZES[name], geometry(form))
    assert ledger.total == FLOPS_PER_MAC * macs.text_memory
    ledger.measure(lambda: model(image, timestep, text_memory=memory))
    assert ledger.total == FLOPS_PER_MAC * macs.total


def test_text_costs_what_the_study_of_peers_reckoned() -> None:
    """B/4 reads 77 tokens for 7.70 GMAC and L/2 for 98.4, adaLN-single's modulation and the text's projection apart."""
    for name, gigamacs in (("B/4", 7.70), ("L/2", 98.4)):
        assert forward_macs(SIZES[name], geometry("adaln_single")).total / 1e9 == pytest.approx(gigamacs, rel=0.015)
