"""In which order samples are read: a pure function of (seed, epoch), asked by global position."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from runtime.seeds import numpy_generator


class Location(NamedTuple):
    """Tell which sample stands at a global position."""

    epoch: int
    shard_index: int
    """Index into the data set's shards."""
    row_index: int
    """Index into the shard's samples."""


class EpochOrder:
    """Order all samples anew in every epoch: shards are permuted, then samples inside windows of neighbours.

    Positions run on over epochs without a gap, so each run of `num_samples` positions that starts at a multiple of it
    holds every sample exactly once. Memory is one window and one permutation of the shards.
    """

    def __init__(self, shard_sizes: Sequence[int], seed: int, *, window_samples: int, shuffle: bool):
        self._sizes = np.asarray(shard_sizes, dtype=np.int64)
        self.num_samples = int(self._sizes.sum())
        self._seed = seed
        self._window_samples = window_samples
        self._shuffle = shuffle
        # Neighbouring positions share epoch and window; two of each serve a batch that lies across a border.
        self._shards_of = lru_cache(maxsize=2)(self._permuted_shards)
        self._window_of = lru_cache(maxsize=2)(self._permuted_window)

    def locate(self, position: int) -> Location:
        """Return the epoch, shard and row of a global position."""
        epoch, ordinal = divmod(position, self.num_samples)
        if self._shuffle:
            window, offset = divmod(ordinal, self._window_samples)
            ordinal = int(self._window_of(epoch, window)[offset])
        shards, starts = self._shards_of(epoch)
        slot = int(np.searchsorted(starts, ordinal, side="right")) - 1
        return Location(epoch, int(shards[slot]), ordinal - int(starts[slot]))

    def _permuted_shards(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        shards = np.flatnonzero(self._sizes)
        if self._shuffle:
            shards = numpy_generator(self._seed, "shards", epoch).permutation(shards)
        sizes = self._sizes[shards]
        return shards, np.cumsum(sizes) - sizes

    def _permuted_window(self, epoch: int, window: int) -> np.ndarray:
        start = window * self._window_samples
        length = min(self._window_samples, self.num_samples - start)
        return start + numpy_generator(self._seed, "window", epoch, window).permutation(length)
