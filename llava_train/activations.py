"""What autograd keeps of a forward pass until the backward pass, in bytes, under bfloat16 autocast.

Written down from the operations that transformers' blocks run, with fused attention; the tests compare every formula
with what autograd really saves. Widths: `width` of the residual stream, `queries` and `keys` of all heads, `inner` of
the gated MLP. Numbers are bytes per value: 4 in float32, 2 in bfloat16, 1 for a mask.
"""

from dataclasses import dataclass
from typing import Any

from llava_train.config import LoraConfig

FLOAT32 = 4
BFLOAT16 = 2
MASK = 1


@dataclass(frozen=True, kw_only=True)
class BlockWidths:
    """What one block of a LLaMA-like language model is wide."""

    width: int
    queries: int
    keys: int
    inner: int
    num_heads: int

    @classmethod
    def of(cls, config: Any) -> "BlockWidths":
        """Read the widths off a language model's config."""
        head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        return cls(
            width=config.hidden_size,
            queries=config.num_attention_heads * head,
            keys=config.num_key_value_heads * head,
            inner=config.intermediate_size,
            num_heads=config.num_attention_heads,
        )


def block_bytes_per_token(
    block: BlockWidths, *, is_trained: bool, lora: LoraConfig | None, weights_are_float32: bool
) -> int:
    """Return what one block of the language model keeps for each token.

    `is_trained` says that something in the block moves: with `lora` the adapters, else all of it. Weights in float32
    have autocast convert each product's input anew; in bfloat16 products of one input share it.
    """
    # Both norms widen their input; attention keeps queries, keys, values, output and, in float32, each row's sum.
    kept = 2 * FLOAT32 * block.width
    kept += BFLOAT16 * (2 * block.queries + 2 * block.keys) + FLOAT32 * block.num_heads
    # The gate before and after its activation, and what it multiplies.
    kept += BFLOAT16 * 3 * block.inner
    if not is_trained:
        return kept
    if lora is not None:
        return kept + _adapters_bytes_per_token(block, lora)
    # The norms' products with their weights, then the inputs of the seven linear layers (attention keeps one already).
    num_inputs = 5 if weights_are_float32 else 2
    return kept + BFLOAT16 * (2 * block.width + num_inputs * block.width + block.inner)


def _adapters_bytes_per_token(block: BlockWidths, lora: LoraConfig) -> int:
    inner_products = 7 * BFLOAT16 * lora.rank
    if lora.dropout == 0:
        return BFLOAT16 * (2 * block.width + block.inner) + inner_products
    inputs = 5 * block.width + block.queries + block.inner
    return (MASK + BFLOAT16) * inputs + inner_products


def checkpoint_bytes_per_token(block: BlockWidths) -> int:
    """Return what stays of a block that is computed again in the backward pass: its input."""
    return BFLOAT16 * block.width


def tower_bytes_per_token(vision: Any) -> int:
    """Return what one trained block of a CLIP tower keeps for each of its tokens; a frozen one keeps nothing."""
    width, inner = vision.hidden_size, vision.intermediate_size
    norms = 2 * FLOAT32 * width
    inputs = BFLOAT16 * (4 * width + inner)
    attention = BFLOAT16 * 4 * width + FLOAT32 * vision.num_attention_heads
    # Quick GELU, x * sigmoid(1.702 x), keeps both factors.
    return norms + inputs + attention + BFLOAT16 * 2 * inner


def projector_bytes_per_token(vision: Any, language: Any) -> int:
    """Return what the trained projector keeps for each of an image's tokens: inputs of its layers, and the GELU's."""
    return BFLOAT16 * (vision.hidden_size + 2 * language.hidden_size)
