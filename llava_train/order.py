"""The order in which a phase reads its conversations: an epoch's share of each file, like lengths together."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Int64, Integer

from runtime.seeds import numpy_generator

WINDOW_BATCHES = 16
"""Lengths are sorted inside windows of this many batches, wide enough to save padding, narrow enough to mix."""


@dataclass(frozen=True, eq=False)
class Portion:
    """Samples that an epoch reads `weight` times: each once with 1, a fair part of them or some again with another."""

    samples: Int64[np.ndarray, " samples"]
    """Indices into the data set, rising."""
    weight: float = 1.0

    @property
    def num_drawn(self) -> int:
        """Return how many samples an epoch reads."""
        return max(1, round(self.weight * len(self.samples))) if len(self.samples) else 0

    def drawn(self, epoch: int, *parts: int | str) -> Int64[np.ndarray, " drawn"]:
        """Return what an epoch reads, in rising order; a pure function of its arguments.

        The epochs go round and round one permutation of the samples, each on from where the last one stopped: after any
        number of them, no sample was read more than once oftener than another.
        """
        turns = numpy_generator(*parts, "portion").permutation(self.samples)
        return np.sort(turns[np.arange(epoch * self.num_drawn, (epoch + 1) * self.num_drawn) % max(1, len(turns))])


class ReadingOrder:
    """Say which sample has which global position: epochs over the short samples first, then epochs over all."""

    def __init__(
        self,
        lengths: Integer[np.ndarray, " samples"],
        batch_size: int,
        seed_parts: tuple[int | str, ...],
        portions: Sequence[Portion],
        *,
        short: Sequence[Portion] = (),
        num_short_updates: int = 0,
    ):
        """Take every sample's length, and for a curriculum the short samples and the updates that read only them."""
        self._lengths = lengths
        self._batch_size = batch_size
        self._seed_parts = seed_parts
        self._all = _Epochs(portions)
        self._short = _Epochs(short)
        self._num_short_positions = num_short_updates * batch_size
        self._short_epoch = lru_cache(maxsize=2)(self._order_short)
        self._epoch = lru_cache(maxsize=2)(self._order_all)

    @property
    def num_samples(self) -> int:
        """Return how many samples an epoch over all reads."""
        return self._all.num_samples

    def sample(self, position: int) -> int:
        """Return the index of the sample at a global position."""
        if position < self._num_short_positions:
            epoch, place = divmod(position, self._short.num_samples)
            return int(self._short_epoch(epoch)[place])
        epoch, place = divmod(position - self._num_short_positions, self._all.num_samples)
        return int(self._epoch(epoch)[place])

    def _order_short(self, epoch: int) -> Int64[np.ndarray, " drawn"]:
        return self._ordered(self._short, epoch, *self._seed_parts, "short")

    def _order_all(self, epoch: int) -> Int64[np.ndarray, " drawn"]:
        return self._ordered(self._all, epoch, *self._seed_parts)

    def _ordered(self, epochs: "_Epochs", epoch: int, *parts: int | str) -> Int64[np.ndarray, " drawn"]:
        samples = epochs.drawn(epoch, *parts)
        return samples[epoch_order(self._lengths[samples], self._batch_size, *parts, epoch=epoch)]


class _Epochs:
    """What each epoch reads of several portions."""

    def __init__(self, portions: Sequence[Portion]):
        self._portions = portions
        self.num_samples = sum(portion.num_drawn for portion in portions)

    def drawn(self, epoch: int, *parts: int | str) -> Int64[np.ndarray, " drawn"]:
        return np.concatenate([one.drawn(epoch, *parts, number) for number, one in enumerate(self._portions)])


def epoch_order(
    lengths: Integer[np.ndarray, " samples"], batch_size: int, *parts: int | str, epoch: int
) -> Int64[np.ndarray, " samples"]:
    """Return a permutation of the samples, a pure function of its arguments.

    Samples are shuffled, sorted by length inside windows, cut into batches, and the batches of a window shuffled again.
    """
    generator = numpy_generator(*parts, "order", epoch)
    shuffled = generator.permutation(len(lengths))
    windows: list[Int64[np.ndarray, " batch"]] = []
    for start in range(0, len(shuffled), WINDOW_BATCHES * batch_size):
        window = shuffled[start : start + WINDOW_BATCHES * batch_size]
        window = window[np.argsort(lengths[window], kind="stable")]
        batches = [window[first : first + batch_size] for first in range(0, len(window), batch_size)]
        windows.extend(batches[index] for index in generator.permutation(len(batches)))
    return np.concatenate(windows)
