"""What packing and orders of reading would save on LLaVA's 665,000 conversations, by arithmetic on drawn lengths."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from benchmarks.llava_mix import MAX_LENGTH_TOKENS, SOURCES, Mix, draw_mix
from benchmarks.llava_orders import RANDOM, orders
from llava_train.packing import pack, padded_tokens
from runtime.tables import Align, markdown_table

BATCH_SIZE, MICROBATCH_SIZE = 128, 16
_BLOCK_WEIGHTS, _NUM_BLOCKS, _WIDTH = 6_979_321_856, 32, 4096
"""Of LLaMA-3-8B, matrices only."""
_SCALES = (0.5, 1.0, 2.0)


@dataclass(frozen=True)
class Work:
    """What computing conversations takes."""

    padding_share: float
    teraflops: float
    """Of the language model's forward pass, a conversation."""


def measure(num_drawn: int) -> str:
    """Return the tables of what is padding, what is saved, and what the lengths rest on."""
    lengths = draw_mix(num_drawn).lengths
    facts = f"{num_drawn} lengths drawn: {lengths.mean():.0f} tokens on average, {np.median(lengths):.0f} at the median"
    scales = {scale: works(draw_mix(num_drawn, text_scale=scale)) for scale in _SCALES}
    rows = [[name, f"{work.padding_share:.1%}", f"{work.teraflops:.2f}"] for name, work in scales[1.0].items()]
    saved = [[name, *(_saved(scales[scale], name) for scale in _SCALES)] for name in scales[1.0]]
    sources = [[s.name, f"{s.thousands}k", f"{s.pairs:g}", f"{s.pair_tokens:g}", s.basis] for s in SOURCES]
    alignment: list[Align] = ["left", "right", "right", "right", "left"]
    parts = [
        f"LLaVA's mix: {facts}.",
        markdown_table(["way", "padding", "TFLOPs a conversation"], rows),
        "Work saved against a row each in random order, as far as the lengths can be trusted:",
        markdown_table(["way", *(f"texts {scale:g} times as long" for scale in _SCALES)], saved),
        "What the lengths rest on (pairs of question and answer a conversation, tokens a pair):",
        markdown_table(["source", "conversations", "pairs", "tokens", "from"], sources, alignment),
    ]
    return "\n\n".join(part.strip() for part in parts)


def works(mix: Mix) -> Mapping[str, Work]:
    """Return the work of each order, a row for each conversation and packed."""
    return {
        f"{order}, {rows}": work(mix.lengths[places], packed=rows == "packed")
        for order, places in orders(mix, BATCH_SIZE, MICROBATCH_SIZE).items()
        for rows in ("a row each", "packed")
    }


def work(lengths: np.ndarray, *, packed: bool) -> Work:
    """Return the work of conversations that are read in this order."""
    num_tokens, squares = 0, 0
    for start in range(0, len(lengths), MICROBATCH_SIZE):
        chunk = [int(length) for length in lengths[start : start + MICROBATCH_SIZE]]
        rows = pack(chunk, MAX_LENGTH_TOKENS) if packed else [[index] for index in range(len(chunk))]
        area = padded_tokens(chunk, rows)
        num_tokens += area
        squares += sum(length**2 for length in chunk) if packed else len(chunk) * (area // len(chunk)) ** 2
    flops = 2 * _BLOCK_WEIGHTS * num_tokens + 2 * _NUM_BLOCKS * _WIDTH * squares
    return Work(1 - int(lengths.sum()) / num_tokens, flops / len(lengths) / 1e12)


def _saved(found: Mapping[str, Work], name: str) -> str:
    return f"{1 - found[name].teraflops / found[f'{RANDOM}, a row each'].teraflops:.1%}"
