"""A small transformer whose attention can be chosen."""

from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

Attention = Literal["eager", "sdpa"]


class Transformer(nn.Module):
    """Pre-norm blocks over `batch tokens width`."""

    def __init__(self, *, width: int, num_layers: int, num_heads: int, attention: Attention):
        super().__init__()
        self.blocks = nn.Sequential(*(_Block(width, num_heads, attention) for _ in range(num_layers)))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        """Return the last layer's normalised features."""
        return self.norm(self.blocks(x))


class _Block(nn.Module):
    def __init__(self, width: int, num_heads: int, attention: Attention):
        super().__init__()
        self._num_heads, self._attention = num_heads, attention
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        qkv = rearrange(
            self.qkv(self.norm1(x)), "batch time (three heads head) -> three batch heads time head", three=3,
            heads=self._num_heads,
        )  # fmt: skip
        mixed = _plain(*qkv) if self._attention == "eager" else F.scaled_dot_product_attention(*qkv)
        x = x + self.out(rearrange(mixed, "batch heads time head -> batch time (heads head)"))
        return x + self.mlp(self.norm2(x))


def _plain(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Return softmax(q k / sqrt(d)) v by matrix products."""
    return (q * q.shape[-1] ** -0.5 @ k.mT).softmax(-1).to(v.dtype) @ v


def random_tokens(batch_size: int, num_tokens: int, width: int) -> Float[Tensor, "batch tokens width"]:
    """Return standard normal inputs, always the same."""
    return torch.randn(batch_size, num_tokens, width, generator=torch.Generator().manual_seed(0))
