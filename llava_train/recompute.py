"""Gradient checkpointing: trade a second forward pass of each block for the memory of what is inside it."""

from functools import partial
from typing import Any, cast

from torch.utils.checkpoint import checkpoint
from transformers import LlavaForConditionalGeneration
from transformers.modeling_layers import GradientCheckpointingLayer


def recompute_blocks(llava: LlavaForConditionalGeneration, enabled: bool) -> None:
    """Let the language model's blocks keep only their input while training, or all they compute.

    Set on the blocks alone, by transformers' own switch: enabling it on the whole model would also make the embeddings
    ask for a gradient that nobody needs.
    """
    for module in llava.model.language_model.modules():
        if isinstance(module, GradientCheckpointingLayer):
            module.gradient_checkpointing = enabled
            cast(Any, module)._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)
