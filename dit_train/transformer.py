"""The text-conditioned diffusion transformer.

Imports torch, diffusers and `dit_train.layers` alone: exported folders carry a copy of both files, with which diffusers
loads the model in a Python without this project. DiT (Peebles and Xie, arXiv 2212.09748, section 3.2) plus
cross-attention to the text in every block, between self-attention and MLP (the variant named in arXiv 2406.08478,
section 6).
"""

from typing import cast

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from dit_train.layers import (
    MODULATIONS,
    NORM_EPSILON,
    TIME_FREQUENCIES_WIDTH,
    Block,
    TextMemory,
    average_windows,
    build_head,
    modulate,
    sincos_positions,
    time_frequencies,
)

TIME_SCALE = 1000.0  # timesteps are noise levels times this, as FlowMatchEulerDiscreteScheduler hands them out
SHARE_OF_AVERAGE = 0.25  # six blocks then add about as much text as there is image
SMALLEST_NOISE_LEVEL = 0.05  # floor of the division that turns an image into a velocity (arXiv 2511.13720, appendix)
FORMS = ("adaln_zero", "adaln_single")


class TextDiT(ModelMixin, ConfigMixin):  # type: ignore[misc]  # diffusers' own models are made so
    """Predict from a noisy image, its noise level and a text what the objective asks for.

    With noise level s in [0, 1] the straight path is z = (1 - s) x + s noise and its velocity noise - x. When
    `predicts_image` the last layer gives x and the velocity is (z - x) / s: patches wider than the network are then no
    obstacle, for images lie on a low-dimensional set and noise does not (arXiv 2511.13720). `text_embeddings` tells
    callers that the text it was trained with is the encoder's token embeddings and not its last hidden state.
    `out_channels` beyond `in_channels` hold the learned variance (arXiv 2102.09672, equation 15). `form` is adaln_zero
    (DiT's) or adaln_single (PixArt's, arXiv 2310.00426: one modulation layer for all blocks, text read by two layers).
    """

    _no_split_modules = [Block.__name__]  # type: ignore[assignment]  # noqa: RUF012 (as diffusers declares it)

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
        form: str = "adaln_zero",
        out_channels: int | None = None,
        qk_norm: bool = False,
        gelu: str = "none",
        time_init_std: float | None = None,
    ) -> None:
        super().__init__()
        if sample_size % patch_size:
            raise ValueError(f"sample_size {sample_size} is not a multiple of patch_size {patch_size}")
        if width % num_heads:
            raise ValueError(f"width {width} is not a multiple of num_heads {num_heads}")
        if form not in FORMS:
            raise ValueError(f"form {form!r} is none of {FORMS}")
        self.sample_size, self.in_channels, self.patch_size = sample_size, in_channels, patch_size
        self.predicts_image, self.text_embeddings = predicts_image, text_embeddings
        self.out_channels = out_channels or in_channels
        self.attention_implementation = "eager"
        mlp_width = int(mlp_ratio * width)
        is_single = form == "adaln_single"
        self.patch_in = nn.Linear(in_channels * patch_size**2, width)
        self.time_in = nn.Sequential(nn.Linear(TIME_FREQUENCIES_WIDTH, width), nn.SiLU(), nn.Linear(width, width))
        self._build_text(text_width, width, text_summary, is_single)
        self.text_window = text_window
        self.blocks = nn.ModuleList(
            [
                Block(width, num_heads, mlp_width, gelu=gelu, shares_modulation=is_single, qk_norm=qk_norm)
                for _ in range(depth)
            ]
        )
        self.norm_out = nn.LayerNorm(width, elementwise_affine=False, eps=NORM_EPSILON)
        self._build_modulation(width, is_single)
        self.head = build_head(width, mlp_width, self.out_channels * patch_size**2, head_layers)
        self.register_buffer("positions", sincos_positions(sample_size // patch_size, width), persistent=False)
        self._initialise(zero_init_text_out, time_init_std)
        if text_starts_averaged:
            self._start_averaging()

    def _build_text(self, text_width: int, width: int, text_summary: bool, is_single: bool) -> None:
        """Build what stands between the text encoder and the blocks."""
        self.text_norm: nn.Module = nn.Identity() if is_single else nn.LayerNorm(text_width)
        self.text_in: nn.Module = nn.Linear(text_width, width)
        if is_single:
            self.text_in = nn.Sequential(self.text_in, nn.GELU(approximate="tanh"), nn.Linear(width, width))
        self.summary_in = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width)) if text_summary else None

    def _build_modulation(self, width: int, is_single: bool) -> None:
        """Build what turns the condition into shifts, scales and gates outside the blocks."""
        self.modulation_in = nn.Linear(width, MODULATIONS * width) if is_single else None
        if is_single:
            self.modulation_out_table = nn.Parameter(torch.randn(2, width) / width**0.5)
        else:
            self.modulation_out = nn.Linear(width, 2 * width)

    def _initialise(self, zero_init_text_out: bool, time_init_std: float | None) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        if time_init_std is not None:
            after_time = [self.modulation_in] if self.modulation_in is not None else []
            for layer in (self.time_in[0], self.time_in[2], *after_time):
                nn.init.normal_(cast(nn.Linear, layer).weight, std=time_init_std)
        zeroed = [cast(nn.Linear, self.head[-1])]
        if self.modulation_in is None:
            zeroed += [self.modulation_out, *(block.modulation for block in self._blocks())]
        if zero_init_text_out:
            zeroed += [block.text_out for block in self._blocks()]
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
        """Return the prediction for noisy images, (batch, out_channel, height, width), in float32.

        timestep: (batch,), noise level times TIME_SCALE or a step of the noise schedule. The text comes as
        `encoder_hidden_states` with its mask, or as `text_memory`, what `read_text` made of them. Fewer texts than
        images are repeated, all of them in order.
        """
        if text_memory is None:
            if encoder_hidden_states is None or encoder_attention_mask is None:
                raise ValueError("give encoder_hidden_states with encoder_attention_mask, or text_memory")
            text_memory = self.read_text(encoder_hidden_states, encoder_attention_mask)
        text_memory = text_memory.for_images(len(hidden_states))
        embedded = self.time_in(time_frequencies(timestep))
        if text_memory.summary is not None:
            embedded = embedded + text_memory.summary
        condition = F.silu(embedded)
        for_blocks = condition if self.modulation_in is None else self.modulation_in(condition)
        tokens = self.patch_in(self._to_patches(hidden_states))
        tokens = tokens + self.positions.to(tokens.dtype)
        for block, key, value in zip(self._blocks(), text_memory.keys, text_memory.values, strict=True):
            tokens = block(tokens, for_blocks, key, value, text_memory.mask, self.attention_implementation)
        tokens = modulate(self.norm_out(tokens), *self._modulations_out(embedded, condition))
        output = self._to_image(self.head(tokens)).float()
        if self.predicts_image:
            level = (timestep.float() / TIME_SCALE).clamp(min=SMALLEST_NOISE_LEVEL)
            output = (hidden_states.float() - output) / level[:, None, None, None]
        return Transformer2DModelOutput(sample=output) if return_dict else (output,)

    def _modulations_out(self, embedded: Tensor, condition: Tensor) -> tuple[Tensor, ...]:
        """Return shift and scale before the head."""
        if self.modulation_in is None:
            return self.modulation_out(condition).chunk(2, dim=-1)
        return (self.modulation_out_table + embedded[:, None]).unbind(dim=1)

    def _to_patches(self, images: Tensor) -> Tensor:
        """Cut (batch, channel, height, width) into (batch, token, channel * patch * patch)."""
        size = self.patch_size
        patches = images.unfold(2, size, size).unfold(3, size, size)
        return patches.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)

    def _to_image(self, patches: Tensor) -> Tensor:
        """Undo `_to_patches`, with as many channels as come out."""
        size, channels = self.patch_size, self.out_channels
        grid = self.sample_size // size
        squares = patches.view(-1, grid, grid, channels, size, size)
        return squares.permute(0, 3, 1, 4, 2, 5).reshape(-1, channels, grid * size, grid * size)
