"""The order in which a phase reads its conversations: exactly once per epoch, like lengths together."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Int64

from runtime.seeds import numpy_generator

WINDOW_BATCHES = 16
"""Lengths are sorted inside windows of this many batches, wide enough to save padding, narrow enough to mix."""


class ReadingOrder:
    """Say which sample has which global position: epochs over the short samples first, then epochs over all."""

    def __init__(
        self,
        lengths: Sequence[int],
        batch_size: int,
        seed_parts: tuple[int | str, ...],
        *,
        short: Sequence[int] = (),
        num_short_updates: int = 0,
    ):
        """Take every sample's length, and for a curriculum the short samples and the updates that read only them."""
        self._lengths = lengths
        self._batch_size = batch_size
        self._seed_parts = seed_parts
        self._short = short
        self._num_short_positions = num_short_updates * batch_size
        self._short_epoch = lru_cache(maxsize=2)(self._order_short)
        self._epoch = lru_cache(maxsize=2)(self._order_all)

    def sample(self, position: int) -> int:
        """Return the index of the sample at a global position."""
        if position < self._num_short_positions:
            epoch, place = divmod(position, len(self._short))
            return self._short_epoch(epoch)[place]
        epoch, place = divmod(position - self._num_short_positions, len(self._lengths))
        return self._epoch(epoch)[place]

    def _order_short(self, epoch: int) -> list[int]:
        lengths = [self._lengths[index] for index in self._short]
        order = epoch_order(lengths, self._batch_size, *self._seed_parts, "short", epoch=epoch)
        return [self._short[place] for place in order]

    def _order_all(self, epoch: int) -> list[int]:
        return [int(index) for index in epoch_order(self._lengths, self._batch_size, *self._seed_parts, epoch=epoch)]


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
