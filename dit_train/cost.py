"""What a transformer costs, reckoned from its shape: multiply-accumulates and parameters.

A multiply-accumulate is two floating-point operations; the "Gflops" of the DiT paper are multiply-accumulates.
"""

from dataclasses import dataclass

from dit_train.layers import MODULATIONS, TIME_FREQUENCIES_WIDTH
from dit_train.sizes import Size

FLOPS_PER_MAC = 2
MLP_RATIO = 4
BACKWARD_COST = 2
"""A backward pass costs two forward passes: one product for the inputs' gradient, one for the weights'."""


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """The shape of what a transformer reads and writes."""

    grid_size: int
    """Side of the image or latent, in pixels or cells."""
    in_channels: int
    out_channels: int
    text_tokens: int
    text_width: int
    form: str = "adaln_zero"
    """How blocks are modulated: see `dit_train.transformer.TextDiT`."""


@dataclass(frozen=True, kw_only=True)
class ForwardMacs:
    """Multiply-accumulates of one image's forward pass."""

    image: int
    """What DiT itself computes: without a text and without a class table, which costs none."""
    text_memory: int
    """Text to keys and values: once per prompt in sampling."""
    text_reading: int
    """Cross-attention's queries, scores and outputs: at every step."""

    @property
    def total(self) -> int:
        """Return the sum."""
        return self.image + self.text_memory + self.text_reading


def forward_macs(size: Size, geometry: Geometry) -> ForwardMacs:
    """Return what one image's forward pass costs: matrix products alone, as `runtime.flops` counts them.

    Per block and N tokens of width d: self-attention 4 N d^2 + 2 N^2 d, MLP 8 N d^2, modulation 6 d^2; for a text of T
    tokens 2 T d^2 for its keys and values, 2 N d^2 + 2 N T d to read it.
    """
    d, tokens, text = size.width, (geometry.grid_size // size.patch_size) ** 2, geometry.text_tokens
    is_single = geometry.form == "adaln_single"
    block = (4 + 2 * MLP_RATIO) * tokens * d**2 + 2 * tokens**2 * d
    num_modulated = 1 if is_single else size.depth
    patches = tokens * d * (geometry.in_channels + geometry.out_channels) * size.patch_size**2
    time = TIME_FREQUENCIES_WIDTH * d + d**2
    last_modulation = 0 if is_single else 2 * d**2
    return ForwardMacs(
        image=size.depth * block + num_modulated * MODULATIONS * d**2 + patches + time + last_modulation,
        text_memory=size.depth * 2 * text * d**2 + text * geometry.text_width * d + is_single * text * d**2,
        text_reading=size.depth * (2 * tokens * d**2 + 2 * tokens * text * d),
    )
