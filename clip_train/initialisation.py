"""Initial weights, of the miniature's narrow towers and of the paper's."""

from typing import Any

import torch
from open_clip.model import CLIP
from torch import Tensor, nn

NARROW_TOKEN_STD, WIDE_TOKEN_STD = 0.1, 0.02
"""Spread of initial token embeddings: open_clip's 0.02 suits widths of 384 and more."""

WORD_STD = 0.01
"""Spread of initial token embeddings in a tower that starts as a bag of words. Small, because AdamW moves every weight
by about the learning rate: a word's meaning is then learned in tens of updates, while the rest of the tower moves
slowly."""
CONSTANT = 0.1
"""Size of what all positions have in common in such a tower. Large beside the words, it is all that layer normalisation
scales by, so that a word keeps its own length: those that matter can grow, those that don't can shrink."""
EVEN_ATTENTION_GAIN = 0.2
"""Spread of initial queries and keys, relative to OpenAI CLIP's, with which attention is about even."""
LAST_GAIN, OTHER_GAIN = 30.0, 0.3
"""What attention adds, relative to the average of the words: in the last block much more than what its own position
holds; before it little, so that words reach the last block as they are."""


@torch.no_grad()
def initialise(model: CLIP, token_std: float) -> None:
    """Draw initial weights of blocks and token embeddings.

    open_clip leaves its vision tower at PyTorch's defaults, which its "custom" attention block replaces by a much
    larger spread; here every block starts as open_clip's own text blocks do.
    """
    for name, module in model.named_modules():
        if not name.endswith("resblocks"):
            continue
        assert isinstance(module, nn.ModuleList)
        for block in module:
            _initialise_block(block, num_layers=len(module))
    nn.init.normal_(model.token_embedding.weight, std=token_std)


@torch.no_grad()
def start_as_bag_of_words(model: CLIP) -> None:
    """Redraw an initialised text tower so that at first a text's feature is linear in the average of its words.

    A tower that starts so learns what words mean several times as fast as one that must first learn to read, and their
    order later. Every position holds one constant vector, the same for all, that values and output take out again;
    small queries and keys make attention even; values and output are each other's inverse, so the average arrives as it
    was. MLPs start silent.
    """
    width = model.token_embedding.weight.shape[1]
    constant = torch.ones(width)
    constant[1::2] = -1
    nn.init.normal_(model.token_embedding.weight, std=WORD_STD)
    model.positional_embedding.copy_(CONSTANT * constant + WORD_STD * torch.randn(model.positional_embedding.shape))
    *others, last = model.transformer.resblocks
    for block in others:
        _average_words(block, constant, gain=OTHER_GAIN)
    _average_words(last, constant, gain=LAST_GAIN)
    last.attn.out_proj.bias.copy_(-CONSTANT * constant)


def _average_words(block: Any, constant: Tensor, gain: float) -> None:
    """Have a block's attention add `gain` times the average of the words up to each position."""
    width = len(constant)
    queries, keys, values = block.attn.in_proj_weight.chunk(3)
    for weight in (queries, keys):
        nn.init.normal_(weight, std=EVEN_ATTENTION_GAIN * width**-0.5)
    nn.init.orthogonal_(values)
    block.attn.out_proj.weight.copy_(gain * values.T)
    values -= torch.outer(values @ constant, constant) / width
    nn.init.zeros_(block.mlp.c_proj.weight)


def _initialise_block(block: Any, num_layers: int) -> None:
    """Initialise one residual block (Radford et al. 2021: OpenAI's CLIP code, `initialize_parameters`)."""
    width = block.attn.in_proj_weight.shape[1]
    projection_std = width**-0.5 * (2 * num_layers) ** -0.5
    nn.init.normal_(block.attn.in_proj_weight, std=width**-0.5)
    nn.init.normal_(block.attn.out_proj.weight, std=projection_std)
    nn.init.normal_(block.mlp.c_fc.weight, std=(2 * width) ** -0.5)
    nn.init.normal_(block.mlp.c_proj.weight, std=projection_std)
    for bias in (block.attn.in_proj_bias, block.attn.out_proj.bias, block.mlp.c_fc.bias, block.mlp.c_proj.bias):
        nn.init.zeros_(bias)
