"""Orders in which LLaVA-1.5's conversations may be read: random, its trainer's own, and ours."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Integer

from benchmarks.llava_mix import IMAGE_TOKENS, Mix
from llava_train.order import epoch_order
from llava_train.source import approximate_lengths
from runtime.seeds import numpy_generator

Order = Integer[np.ndarray, " conversations"]

RANDOM, LLAVAS, LETTERS, OURS = "random order", "LLaVA's order", "like letters", "like lengths"


def orders(mix: Mix, batch_size: int, microbatch_size: int) -> Mapping[str, Order]:
    """Return each order by its name, as permutations of the conversations."""
    approximate = approximate_lengths(mix.num_characters, mix.has_image, IMAGE_TOKENS)
    return {
        RANDOM: np.arange(len(mix.lengths)),
        LLAVAS: llava_order(mix, batch_size, microbatch_size),
        LETTERS: epoch_order(mix.num_characters, batch_size, 0, epoch=0),
        OURS: epoch_order(approximate, batch_size, 0, epoch=0),
    }


def llava_order(mix: Mix, batch_size: int, microbatch_size: int) -> Order:
    """Return the order of LLaVA's `group_by_modality_length` (llava/train/llava_trainer.py).

    Conversations with a picture and those without are shuffled and cut into batches apart, the batches shuffled; what
    is left of both comes last. In a batch the longest go first, each to the microbatch that has the least text so far
    and still has room. Lengths are those of texts alone (LLaVA counts words), so pictures count for nothing.
    """
    generator = numpy_generator("benchmarks", "llava_order")
    whole: list[Order] = []
    rest: list[Order] = []
    for modality in (mix.has_image, ~mix.has_image):
        shuffled = generator.permutation(np.flatnonzero(modality))
        for start in range(0, len(shuffled), batch_size):
            batch = shuffled[start : start + batch_size]
            (whole if len(batch) == batch_size else rest).append(batch)
    dealt = [_dealt(whole[place], mix, microbatch_size) for place in generator.permutation(len(whole))]
    return np.concatenate([*dealt, *rest])


def _dealt(batch: Order, mix: Mix, microbatch_size: int) -> Order:
    """Return a batch's microbatches one after another, each with about as much text as the others."""
    microbatches: list[list[int]] = [[] for _ in range(len(batch) // microbatch_size)]
    sums = np.zeros(len(microbatches))
    for index in batch[np.argsort(-mix.num_characters[batch], kind="stable")]:
        place = int(np.argmin(sums))
        microbatches[place].append(int(index))
        sums[place] += mix.num_characters[index]
        if len(microbatches[place]) == microbatch_size:
            sums[place] = np.inf
    return np.array(microbatches).reshape(-1)
