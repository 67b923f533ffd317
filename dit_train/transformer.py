"""The text-conditioned diffusion transformer.

Exported folders carry this very file beside the weights, so it imports torch and diffusers only; shapes stand in
docstrings instead of annotations for the same reason.

Blocks are DiT's with adaLN-Zero (Peebles and Xie, arXiv 2212.09748, section 3.2) plus cross-attention to the text in
every block, between self-attention and MLP (the variant named in arXiv 2406.08478, section 6).
"""

import itertools
import math
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

TIME_SCALE = 1000.0  # timesteps are noise levels times this, as FlowMatchEulerDiscreteScheduler hands them out
TIME_FREQUENCIES_WIDTH = 256
LARGEST_PERIOD = 10_000.0
SHARE_OF_AVERAGE = 0.25  # six blocks then add about as much text as there is image
SMALLEST_NOISE_LEVEL = 0.05  # floor of the division that turns an image into a velocity (arXiv 2511.13720, appendix)


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
    """Embed timesteps (batch,) in [0, TIME_SCALE] as (batch, TIME_FREQUENCIES_WIDTH) cosines and sines."""
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


class Block(nn.Module):
    """Self-attention, cross-attention and MLP; the first and last scaled, shifted and gated by the condition."""

    def __init__(self, width: int, num_heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.text_query = nn.Linear(width, width)
        self.text_key_value = nn.Linear(width, 2 * width)
        self.text_out = nn.Linear(width, width)
        self.mlp_in = nn.Linear(width, int(mlp_ratio * width))
        self.mlp_out = nn.Linear(int(mlp_ratio * width), width)
        self.modulation = nn.Linear(width, 6 * width)

    def read_text(self, text: Tensor) -> tuple[Tensor, Tensor]:
        """Return this block's keys and values of (batch, token, width) text."""
        key, value = self.text_key_value(text).chunk(2, dim=-1)
        return split_heads(key, self.num_heads), split_heads(value, self.num_heads)

    def forward(
        self, tokens: Tensor, condition: Tensor, key: Tensor, value: Tensor, mask: Tensor, implementation: str
    ) -> Tensor:
        """Return (batch, token, width) after one block; `condition` is (batch, width), already activated."""
        parts = self.modulation(condition).chunk(6, dim=-1)
        shift_attention, scale_attention, gate_attention, shift_mlp, scale_mlp, gate_mlp = parts
        hidden = modulate(self.norm(tokens), shift_attention, scale_attention)
        query, own_key, own_value = (
            split_heads(part, self.num_heads) for part in self.query_key_value(hidden).chunk(3, dim=-1)
        )
        attended = join_heads(attend(query, own_key, own_value, None, implementation))
        tokens = tokens + gate_attention[:, None] * self.attention_out(attended)
        query = split_heads(self.text_query(self.norm(tokens)), self.num_heads)
        tokens = tokens + self.text_out(join_heads(attend(query, key, value, mask, implementation)))
        hidden = modulate(self.norm(tokens), shift_mlp, scale_mlp)
        hidden = self.mlp_out(F.gelu(self.mlp_in(hidden)))
        return tokens + gate_mlp[:, None] * hidden


def build_head(width: int, hidden_width: int, patch_width: int, num_layers: int) -> nn.Sequential:
    """Return what turns tokens into patches: one linear layer, as in DiT, or several with GELU between."""
    widths = [width, *[hidden_width] * (num_layers - 1), patch_width]
    layers: list[nn.Module] = []
    for inner, outer in itertools.pairwise(widths):
        layers += [nn.Linear(inner, outer), nn.GELU()]
    return nn.Sequential(*layers[:-1])


class TextDiT(ModelMixin, ConfigMixin):  # type: ignore[misc]  # diffusers' own models are made so
    """Predict the velocity of the straight path from image to noise.

    With noise level s in [0, 1] the path is z = (1 - s) x + s noise and its velocity noise - x. When `predicts_image`
    the last layer gives x and the velocity is (z - x) / s: patches wider than the network are then no obstacle,
    for images lie on a low-dimensional set and noise does not (arXiv 2511.13720). `text_embeddings` tells callers
    that the text it was trained with is the encoder's token embeddings and not its last hidden state.
    """

    @register_to_config
    def __init__(  # noqa: PLR0913 (diffusers keeps these arguments as the flat config.json of the weights)
        self,
        *,
        sample_size: int,
        in_channels: int,
        patch_size: int,
        width: int,
        depth: int,
        num_heads: int,
        text_width: int,
        text_window: int = 1,
        text_summary: bool = False,
        mlp_ratio: float = 4.0,
        head_layers: int = 1,
        zero_init_text_out: bool = True,
        predicts_image: bool = False,
        text_embeddings: bool = False,
        text_starts_averaged: bool = False,
    ) -> None:
        super().__init__()
        if sample_size % patch_size:
            raise ValueError(f"sample_size {sample_size} is not a multiple of patch_size {patch_size}")
        if width % num_heads:
            raise ValueError(f"width {width} is not a multiple of num_heads {num_heads}")
        self.sample_size, self.in_channels, self.patch_size = sample_size, in_channels, patch_size
        self.predicts_image, self.text_embeddings = predicts_image, text_embeddings
        patch_width = in_channels * patch_size**2
        self.attention_implementation = "eager"
        self.patch_in = nn.Linear(patch_width, width)
        self.time_in = nn.Sequential(nn.Linear(TIME_FREQUENCIES_WIDTH, width), nn.SiLU(), nn.Linear(width, width))
        self.text_norm = nn.LayerNorm(text_width)
        self.text_in = nn.Linear(text_width, width)
        self.text_window = text_window
        self.summary_in = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width)) if text_summary else None
        self.blocks = nn.ModuleList([Block(width, num_heads, mlp_ratio) for _ in range(depth)])
        self.norm_out = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.modulation_out = nn.Linear(width, 2 * width)
        self.head = build_head(width, int(mlp_ratio * width), patch_width, head_layers)
        grid_size = sample_size // patch_size
        self.register_buffer("positions", sincos_positions(grid_size, width), persistent=False)
        self._initialise(zero_init_text_out)
        if text_starts_averaged:
            self._start_averaging()

    def _initialise(self, zero_init_text_out: bool) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        zeroed = [self.modulation_out, cast(nn.Linear, self.head[-1])]
        for block in self._blocks():
            zeroed += [block.modulation, *([block.text_out] if zero_init_text_out else [])]
        for layer in zeroed:
            nn.init.zeros_(layer.weight)

    @torch.no_grad()
    def _start_averaging(self) -> None:
        """Let cross-attention add a share of the average token: all scores equal, values passed on as they are."""
        for block in self._blocks():
            width = block.text_out.in_features
            nn.init.zeros_(block.text_query.weight)
            nn.init.eye_(block.text_key_value.weight[width:])
            nn.init.eye_(block.text_out.weight).mul_(SHARE_OF_AVERAGE)

    def _blocks(self) -> list[Block]:
        return [cast(Block, block) for block in self.blocks]

    def read_text(self, hidden_states: Tensor, mask: Tensor) -> TextMemory:
        """Return keys and values of encoded text.

        hidden_states: batch token text_width. mask: batch token, True on real tokens.
        """
        windows, mask = average_windows(self.text_norm(hidden_states), mask.bool(), self.text_window)
        text = self.text_in(windows)
        keys, values = zip(*[block.read_text(text) for block in self._blocks()], strict=True)
        summary = None
        if self.summary_in is not None:
            summary = self.summary_in(average_windows(text, mask, text.shape[1])[0].squeeze(1))
        return TextMemory(tuple(keys), tuple(values), mask[:, None, None, :], summary)

    def forward(
        self,
        hidden_states: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        text_memory: TextMemory | None = None,
        return_dict: bool = True,
    ) -> Transformer2DModelOutput | tuple[Tensor]:
        """Return the velocity of noisy images, (batch, channel, height, width).

        timestep: (batch,), noise level times TIME_SCALE. The text comes as `encoder_hidden_states` with its mask, or
        as `text_memory`, what `read_text` made of them. Fewer texts than images are repeated, all of them in order.
        """
        if text_memory is None:
            if encoder_hidden_states is None or encoder_attention_mask is None:
                raise ValueError("give encoder_hidden_states with encoder_attention_mask, or text_memory")
            text_memory = self.read_text(encoder_hidden_states, encoder_attention_mask)
        text_memory = text_memory.for_images(len(hidden_states))
        condition = self.time_in(time_frequencies(timestep))
        if text_memory.summary is not None:
            condition = condition + text_memory.summary
        condition = F.silu(condition)
        tokens = self.patch_in(self._to_patches(hidden_states))
        tokens = tokens + self.positions.to(tokens.dtype)
        for block, key, value in zip(self._blocks(), text_memory.keys, text_memory.values, strict=True):
            tokens = block(tokens, condition, key, value, text_memory.mask, self.attention_implementation)
        shift, scale = self.modulation_out(condition).chunk(2, dim=-1)
        output = self._to_image(self.head(modulate(self.norm_out(tokens), shift, scale))).float()
        if self.predicts_image:
            level = (timestep.float() / TIME_SCALE).clamp(min=SMALLEST_NOISE_LEVEL)
            output = (hidden_states.float() - output) / level[:, None, None, None]
        return Transformer2DModelOutput(sample=output) if return_dict else (output,)

    def _to_patches(self, images: Tensor) -> Tensor:
        """Cut (batch, channel, height, width) into (batch, token, channel * patch * patch)."""
        size = self.patch_size
        patches = images.unfold(2, size, size).unfold(3, size, size)
        return patches.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)

    def _to_image(self, patches: Tensor) -> Tensor:
        """Undo `_to_patches`."""
        size, channels = self.patch_size, self.in_channels
        grid = self.sample_size // size
        squares = patches.view(-1, grid, grid, channels, size, size)
        return squares.permute(0, 3, 1, 4, 2, 5).reshape(-1, channels, grid * size, grid * size)
