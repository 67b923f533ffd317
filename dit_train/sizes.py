"""The sizes of transformer that the command line knows by name."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

SizeName = Literal["b", "l", "paper_b", "paper_l"]


@dataclass(frozen=True, kw_only=True)
class Size:
    """One size of transformer, whatever it draws."""

    width: int
    depth: int
    num_heads: int
    patch_size: int
    """Side of a patch, in pixels (or in cells of a latent)."""


SIZES: Mapping[SizeName, Size] = {
    # Miniature stand-ins for the two rows of arXiv 2406.08478, Table 7: the larger one is wider and deeper. Both cut
    # patches as large as the small web's cells, for with patches of half that side 45,000 samples drew no whole object.
    "b": Size(width=256, depth=6, num_heads=4, patch_size=24),
    "l": Size(width=320, depth=8, num_heads=5, patch_size=24),
    # DiT-B/4 and DiT-L/2 (arXiv 2212.09748, Table 1).
    "paper_b": Size(width=768, depth=12, num_heads=12, patch_size=4),
    "paper_l": Size(width=1024, depth=24, num_heads=16, patch_size=2),
}
