"""The parts of the transformer: positions, attention, blocks.

Imports torch alone, and together with `dit_train.transformer` makes up the model file of exported folders.
"""

import itertools
import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TIME_FREQUENCIES_WIDTH = 256
LARGEST_PERIOD = 10_000.0
NORM_EPSILON = 1e-6
MODULATIONS = 6  # shift, scale and gate of self-attention, then of the MLP


class TextMemory(NamedTuple):
    """What the blocks read of a prompt: computed once, used at every step of sampling."""

    keys: tuple[Tensor, ...]
    """Per block: batch head token head_width."""
    values: tuple[Tensor, ...]
    """Per block: batch head token head_width."""
    mask: Tensor
    """batch 1 1 token; True where a token may be read."""
    summary: Tensor | None
    """batch width: the prompt as one vector, added to the time embedding."""

    def for_images(self, num_images: int) -> "TextMemory":
        """Repeat prompts until there is one per image; a single prompt is broadcast instead."""
        if len(self.mask) in (1, num_images):
            return self
        copies = num_images // len(self.mask)

        def repeat(part: Tensor) -> Tensor:
            return part.repeat(copies, *[1] * (part.ndim - 1))

        keys, values = (tuple(map(repeat, parts)) for parts in (self.keys, self.values))
        return TextMemory(keys, values, repeat(self.mask), None if self.summary is None else repeat(self.summary))


def sincos_positions(grid_size: int, width: int) -> Tensor:
    """Return fixed two-dimensional sine-cosine positions, (grid_size * grid_size, width)."""
    if width % 4:
        raise ValueError(f"width {width} is not a multiple of 4, which sine-cosine positions need")
    frequencies = LARGEST_PERIOD ** (-torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    angles = torch.arange(grid_size, dtype=torch.float64)[:, None] * frequencies
    line = torch.cat([angles.sin(), angles.cos()], dim=1)
    rows = line[:, None, :].expand(grid_size, grid_size, -1)
    columns = line[None, :, :].expand(grid_size, grid_size, -1)
    return torch.cat([rows, columns], dim=-1).reshape(grid_size * grid_size, width).float()


def time_frequencies(timestep: Tensor) -> Tensor:
    """Embed timesteps (batch,) as (batch, TIME_FREQUENCIES_WIDTH) cosines and sines."""
    half = TIME_FREQUENCIES_WIDTH // 2
    frequencies = torch.exp(-math.log(LARGEST_PERIOD) * torch.arange(half, device=timestep.device) / half)
    angles = timestep.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, implementation: str) -> Tensor:
    """Return softmax attention over (batch, head, token, head_width); `eager` is the faster one on CPU."""
    if implementation == "sdpa":
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return scores.softmax(dim=-1, dtype=torch.float32).to(value.dtype) @ value


def split_heads(tokens: Tensor, num_heads: int) -> Tensor:
    """Turn (batch, token, head * head_width) into (batch, head, token, head_width)."""
    batch, length, width = tokens.shape
    return tokens.view(batch, length, num_heads, width // num_heads).transpose(1, 2)


def join_heads(tokens: Tensor) -> Tensor:
    """Turn (batch, head, token, head_width) into (batch, token, head * head_width)."""
    return tokens.transpose(1, 2).flatten(2)


def average_windows(hidden: Tensor, mask: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """Average real tokens over windows of neighbours.

    hidden: batch token width. mask: batch token, True on real tokens. Returns both with ceil(token / window) tokens; a
    window without real tokens is masked.
    """
    missing = -hidden.shape[1] % window
    weights = F.pad(mask, (0, missing)).unflatten(1, (-1, window))[..., None].to(hidden.dtype)
    sums = (F.pad(hidden, (0, 0, 0, missing)).unflatten(1, (-1, window)) * weights).sum(dim=2)
    counts = weights.sum(dim=2)
    return sums / counts.clamp(min=1), counts[..., 0] > 0


def modulate(tokens: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Scale and shift (batch, token, width) by (batch, width)."""
    return tokens * (1 + scale[:, None]) + shift[:, None]


class QueryKeyNorm(nn.Module):
    """Bring queries and keys to unit root mean square per head, each with a learned scale (arXiv 2302.05442)."""

    def __init__(self, head_width: int) -> None:
        super().__init__()
        self.query = nn.RMSNorm(head_width, eps=NORM_EPSILON)
        self.key = nn.RMSNorm(head_width, eps=NORM_EPSILON)


class Block(nn.Module):
    """Self-attention, cross-attention and MLP; the first and last scaled, shifted and gated by the condition.

    The condition's six vectors come from a layer of the block's own (adaLN-Zero, arXiv 2212.09748, section 3.2) or,
    when `shares_modulation`, from one layer of the whole model plus a table of the block's own (adaLN-single, arXiv
    2310.00426, section 2.3); cross-attention's queries are then not normalised, as there.
    """

    gathering_methods = ("read_text",)  # beside forward: where ranks share out weights, these gather them too

    def __init__(
        self, width: int, num_heads: int, mlp_width: int, *, gelu: str, shares_modulation: bool, qk_norm: bool
    ) -> None:
        super().__init__()
        self.num_heads, self.gelu, self.shares_modulation = num_heads, gelu, shares_modulation
        self.norm = nn.LayerNorm(width, elementwise_affine=False, eps=NORM_EPSILON)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.text_query = nn.Linear(width, width)
        self.text_key_value = nn.Linear(width, 2 * width)
        self.text_out = nn.Linear(width, width)
        self.mlp_in = nn.Linear(width, mlp_width)
        self.mlp_out = nn.Linear(mlp_width, width)
        if shares_modulation:
            self.modulation_table = nn.Parameter(torch.randn(MODULATIONS, width) / width**0.5)
        else:
            self.modulation = nn.Linear(width, MODULATIONS * width)
        self.attention_norm = QueryKeyNorm(width // num_heads) if qk_norm else None
        self.text_norm = QueryKeyNorm(width // num_heads) if qk_norm else None

    def read_text(self, text: Tensor) -> tuple[Tensor, Tensor]:
        """Return this block's keys and values of (batch, token, width) text."""
        key, value = self.text_key_value(text).chunk(2, dim=-1)
        key, value = split_heads(key, self.num_heads), split_heads(value, self.num_heads)
        return (key if self.text_norm is None else self.text_norm.key(key)), value

    def forward(
        self, tokens: Tensor, condition: Tensor, key: Tensor, value: Tensor, mask: Tensor, implementation: str
    ) -> Tensor:
        """Return (batch, token, width) after one block.

        `condition` is the activated time embedding, (batch, width), or what the whole model made of it for all blocks,
        (batch, 6 * width).
        """
        shift_attention, scale_attention, gate_attention, shift_mlp, scale_mlp, gate_mlp = self._modulations(condition)
        hidden = modulate(self.norm(tokens), shift_attention, scale_attention)
        tokens = tokens + gate_attention[:, None] * self._attend_to_self(hidden, implementation)
        query = split_heads(self.text_query(tokens if self.shares_modulation else self.norm(tokens)), self.num_heads)
        if self.text_norm is not None:
            query = self.text_norm.query(query).to(key.dtype)
        tokens = tokens + self.text_out(join_heads(attend(query, key, value, mask, implementation)))
        hidden = modulate(self.norm(tokens), shift_mlp, scale_mlp)
        hidden = self.mlp_out(F.gelu(self.mlp_in(hidden), approximate=self.gelu))
        return tokens + gate_mlp[:, None] * hidden

    def _modulations(self, condition: Tensor) -> tuple[Tensor, ...]:
        if self.shares_modulation:
            condition = condition + self.modulation_table.flatten()
        else:
            condition = self.modulation(condition)
        return condition.chunk(MODULATIONS, dim=-1)

    def _attend_to_self(self, hidden: Tensor, implementation: str) -> Tensor:
        query, key, value = (
            split_heads(part, self.num_heads) for part in self.query_key_value(hidden).chunk(3, dim=-1)
        )
        if self.attention_norm is not None:
            query, key = self.attention_norm.query(query), self.attention_norm.key(key)
            query, key = query.to(value.dtype), key.to(value.dtype)
        attended: Tensor = self.attention_out(join_heads(attend(query, key, value, None, implementation)))
        return attended


def build_head(width: int, hidden_width: int, patch_width: int, num_layers: int) -> nn.Sequential:
    """Return what turns tokens into patches: one linear layer, as in DiT, or several with GELU between."""
    widths = [width, *[hidden_width] * (num_layers - 1), patch_width]
    layers: list[nn.Module] = []
    for inner, outer in itertools.pairwise(widths):
        layers += [nn.Linear(inner, outer), nn.GELU()]
    return nn.Sequential(*layers[:-1])
