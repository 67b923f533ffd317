"""The order in which a phase reads its conversations: exactly once per epoch, like lengths together."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int64

from runtime.seeds import numpy_generator

WINDOW_BATCHES = 16
"""Lengths are sorted inside windows of this many batches, wide enough to save padding, narrow enough to mix."""


def epoch_order(
    lengths: Sequence[int], batch_size: int, *parts: int | str, epoch: int
) -> Int64[np.ndarray, " samples"]:
    """Return a permutation of the samples, a pure function of its arguments.

    Samples are shuffled, sorted by length inside windows, cut into batches, and the batches of a window shuffled again.
    """
    generator = numpy_generator(*parts, "order", epoch)
    shuffled = generator.permutation(len(lengths))
    sizes = np.asarray(lengths)
    windows: list[Int64[np.ndarray, " batch"]] = []
    for start in range(0, len(shuffled), WINDOW_BATCHES * batch_size):
        window = shuffled[start : start + WINDOW_BATCHES * batch_size]
        window = window[np.argsort(sizes[window], kind="stable")]
        batches = [window[first : first + batch_size] for first in range(0, len(window), batch_size)]
        windows.extend(batches[index] for index in generator.permutation(len(batches)))
    return np.concatenate(windows)
