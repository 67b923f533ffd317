"""Batches of images and chosen captions for training, the same for any number of ranks and workers."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any

from imagetext.audit import Audit
from imagetext.batches import BatchMaker, CaptionGroup, ImageTextBatch, Transform
from imagetext.mix import CaptionMix, CaptionMixConfig
from imagetext.mix_check import check_mix
from imagetext.stored_pictures import StoredPictures
from imagetext.stream import DataConfig, SampleStream
from imagetext.tokenizers import TextTokenizer
from imagetext.work_ahead import work_ahead
from runtime.errors import UserError

__all__ = ["CaptionGroup", "ImageTextBatch", "MixedLoader", "Transform"]

_BUDGET_FLOOR_SAMPLES = 1000
"""Draws against which the budget for bad samples is counted at least: one early bad sample is no reason to stop."""


class MixedLoader:
    """Serve training batches with mixed captions (a `runtime.source.CountingSource`).

    Global position i belongs to update i // batch_size. A rank takes its contiguous part of an update, a microbatch its
    contiguous part of that. The state is the number of the update alone.
    """

    def __init__(
        self,
        data: DataConfig,
        mix: CaptionMixConfig,
        pictures: Transform | StoredPictures,
        tokenizer: TextTokenizer,
        seed: int,
        batch_size: int,
        microbatch_size: int | None = None,
    ):
        check_mix(mix, data)
        self._config = data
        self._pictures = pictures
        self._batch_size = batch_size
        self._microbatch_size = microbatch_size
        self.stream = SampleStream(data, seed, scored_source=mix.scored_source)
        self._maker = BatchMaker(self.stream, CaptionMix(mix, seed, batch_size), pictures, tokenizer, seed)
        self._audit = Audit(num_samples=self.stream.num_samples)

    @property
    def num_samples(self) -> int:
        """Return the number of samples in an epoch."""
        return self.stream.num_samples

    def updates(self, start_update: int, *, rank: int = 0, world_size: int = 1) -> Iterator[Sequence[ImageTextBatch]]:
        """Yield, update by update and without end, this rank's microbatches.

        Raises:
            UserError: when the batch does not divide, a shard is broken, or bad samples exceed their budget.
        """
        size, per_update = self._split(world_size)
        positions = _positions(start_update, self._batch_size, rank * size * per_update, size, per_update)
        served = work_ahead(self._maker.make, positions, self._config.num_workers)
        while True:
            microbatches = []
            for _ in range(per_update):
                batch, samples = next(served)
                self._audit.add(samples)
                microbatches.append(batch)
            self._check_budget()
            yield microbatches

    def fingerprint(self) -> str:
        """Return the digest of shards and sidecars, and of the pictures where those were made ahead."""
        own = self.stream.fingerprint()
        if not isinstance(self._pictures, StoredPictures):
            return own
        return hashlib.blake2b(f"{own} {self._pictures.fingerprint()}".encode(), digest_size=16).hexdigest()

    def audit(self) -> dict[str, object]:
        """Return what was served: counts, realised shares, lengths, truncation and the fingerprint of the keys.

        Covers this process and what `load_state_dict` brought.
        """
        return self._audit.as_dict()

    def skipped(self) -> Mapping[str, int]:
        """Return how many samples left a hole, by reason; covers what `audit` does."""
        return dict(sorted(self._audit.skipped.items()))

    def state_dict(self) -> dict[str, Any]:
        """Return this rank's counts; the stream itself needs no state but the number of the update."""
        return self._audit.state_dict()

    def load_state_dict(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Take over the sum of the ranks' counts from a checkpoint."""
        self._audit = Audit(num_samples=self.stream.num_samples)
        for state in states:
            self._audit.add_state(state)

    def _split(self, world_size: int) -> tuple[int, int]:
        size = self._microbatch_size or self._batch_size // world_size
        per_update, rest = divmod(self._batch_size, max(1, size) * world_size)
        if rest or not per_update:
            raise UserError(
                "batch_size does not divide",
                found=f"{self._batch_size} samples over {world_size} ranks in microbatches of {size}",
                wanted="a multiple of ranks times microbatch_size",
            )
        return size, per_update

    def _check_budget(self) -> None:
        bad, drawn = self._audit.num_skipped, self._audit.drawn
        if bad > self._config.max_bad_share * max(drawn, _BUDGET_FLOOR_SAMPLES):
            reasons = ", ".join(f"{reason} {times}" for reason, times in self._audit.skipped.most_common())
            raise UserError(
                "too many bad samples",
                where=self._config.shards,
                found=f"{bad} of {drawn} ({reasons}), the last {self._audit.last_skipped}",
                wanted=f"a share of at most {self._config.max_bad_share}",
                fix="Repair the shards, or raise data.max_bad_share",
            )


def _positions(start_update: int, batch_size: int, offset: int, size: int, per_update: int) -> Iterator[range]:
    """Yield the positions of each of a rank's microbatches, update after update."""
    for update in count(start_update):
        first = update * batch_size + offset
        for start in range(first, first + per_update * size, size):
            yield range(start, start + size)
