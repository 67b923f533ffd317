"""The sizes of transformer that the command line knows by name."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

SizeName = Literal["b", "l", "S/8", "S/4", "S/2", "B/8", "B/4", "B/2", "L/8", "L/4", "L/2", "XL/8", "XL/4", "XL/2"]


@dataclass(frozen=True, kw_only=True)
class Size:
    """One size of transformer, whatever it draws."""

    width: int
    depth: int
    num_heads: int
    patch_size: int
    """Side of a patch, in pixels (or in cells of a latent)."""
    gelu: Literal["none", "tanh"] = "none"
    """How torch approximates the MLPs' GELU."""
    time_init_std: float | None = None
    """Spread of the first weights that the time embedding meets; Xavier's if None."""


def _published(width: int, depth: int, num_heads: int, patch_size: int) -> Size:
    """Return a size as DiT's authors build it (arXiv 2212.09748, Table 1; GELU and first weights from their code)."""
    return Size(width=width, depth=depth, num_heads=num_heads, patch_size=patch_size, gelu="tanh", time_init_std=0.02)


SIZES: Mapping[SizeName, Size] = {
    # Miniature stand-ins for the two rows of arXiv 2406.08478, Table 7: the larger one is wider and deeper. Both cut
    # patches as large as the small web's cells, for with patches of half that side 45,000 samples drew no whole object.
    "b": Size(width=256, depth=6, num_heads=4, patch_size=24),
    "l": Size(width=320, depth=8, num_heads=5, patch_size=24),
    "S/8": _published(384, 12, 6, 8),
    "S/4": _published(384, 12, 6, 4),
    "S/2": _published(384, 12, 6, 2),
    "B/8": _published(768, 12, 12, 8),
    "B/4": _published(768, 12, 12, 4),
    "B/2": _published(768, 12, 12, 2),
    "L/8": _published(1024, 24, 16, 8),
    "L/4": _published(1024, 24, 16, 4),
    "L/2": _published(1024, 24, 16, 2),
    "XL/8": _published(1152, 28, 16, 8),
    "XL/4": _published(1152, 28, 16, 4),
    "XL/2": _published(1152, 28, 16, 2),
}
