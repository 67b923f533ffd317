"""Batches of images and chosen captions for training, the same for any number of ranks and workers."""

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import count
from typing import Any, NamedTuple

from torch.utils.data import DataLoader, Dataset, Sampler

from imagetext.audit import Audit, Served
from imagetext.batches import BatchMaker, ImageTextBatch, Transform
from imagetext.mix import CaptionMix, CaptionMixConfig, check_sources
from imagetext.stream import DataConfig, SampleStream
from imagetext.tokenizers import TextTokenizer
from runtime.errors import UserError
from runtime.parent import end_with_parent

__all__ = ["ImageTextBatch", "MixedLoader", "Transform"]

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
        transform: Transform,
        tokenizer: TextTokenizer,
        seed: int,
        batch_size: int,
        microbatch_size: int | None = None,
    ):
        check_sources(mix, data.caption_sources)
        self._config = data
        self._batch_size = batch_size
        self._microbatch_size = microbatch_size
        self.stream = SampleStream(data, seed)
        self._maker = BatchMaker(self.stream, CaptionMix(mix, seed), transform, tokenizer, seed)
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
        starts = _starts(start_update, self._batch_size, rank * size * per_update, size, per_update)
        served = self._serve(starts, size)
        while True:
            microbatches = []
            for _ in range(per_update):
                batch, samples = next(served)
                self._audit.add(samples)
                microbatches.append(batch)
            self._check_budget()
            yield microbatches

    def fingerprint(self) -> str:
        """Return the digest of shards and sidecars."""
        return self.stream.fingerprint()

    def audit(self) -> dict[str, object]:
        """Return what was served: counts, realised shares, lengths, truncation and the fingerprint of the keys.

        Covers this process and what `load_state_dict` brought.
        """
        return self._audit.as_dict()

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

    def _serve(self, starts: Iterator[int], size: int) -> Iterator[tuple[ImageTextBatch, list[Served]]]:
        if self._config.num_workers == 0:
            for start in starts:
                yield self._maker.make(range(start, start + size))
            return
        loader = DataLoader(
            _Microbatches(self._maker, size),
            sampler=_Starts(starts),
            batch_size=None,
            collate_fn=_unchanged,
            num_workers=self._config.num_workers,
            # Forked workers share the parent's memory and need nothing picklable of it.
            multiprocessing_context="fork",
            worker_init_fn=partial(_start_worker, os.getpid()),
        )
        for made in loader:
            if made.error is not None:
                raise made.error
            yield made.batch, made.served

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


class _Made(NamedTuple):
    """A worker's answer; a user's mistake travels as a value, since the data loader would wrap it in a traceback."""

    batch: ImageTextBatch | None
    served: list[Served]
    error: UserError | None


class _Microbatches(Dataset[_Made]):
    def __init__(self, maker: BatchMaker, size: int):
        self._maker = maker
        self._size = size

    def __getitem__(self, start: int) -> _Made:
        try:
            batch, served = self._maker.make(range(start, start + self._size))
        except UserError as error:
            return _Made(None, [], error)
        return _Made(batch, served, None)


class _Starts(Sampler[int]):
    def __init__(self, starts: Iterator[int]):
        self._starts = starts

    def __iter__(self) -> Iterator[int]:
        return self._starts


def _starts(start_update: int, batch_size: int, offset: int, size: int, per_update: int) -> Iterator[int]:
    for update in count(start_update):
        for index in range(per_update):
            yield update * batch_size + offset + index * size


def _start_worker(parent: int, worker_index: int) -> None:
    end_with_parent(parent)


def _unchanged(made: Any) -> Any:
    return made
