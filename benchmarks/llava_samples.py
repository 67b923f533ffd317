"""Conversations without words: token ids and pixels of the lengths that a captioner's phases have, made from a seed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from imagetext.conversations import IGNORED_LABEL
from llava_train.batch import ConversationBatch, RenderedSample, collate
from llava_train.order import epoch_order

_SEED = "captioner's step"


@dataclass(frozen=True, kw_only=True)
class TextLengths:
    """How many tokens of text samples have: log-normal, the shape of conversations' lengths, cut at the longest."""

    median: int
    spread: float
    """Standard deviation of the length's logarithm."""
    longest: int
    supervised_share: float
    """Share of the text, at its end, that is the answer."""


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """Ids that a sample is made of."""

    num_words: int
    """Ids below this are words."""
    image_id: int
    pad_id: int


def draw_samples(
    count: int, lengths: TextLengths, vocabulary: Vocabulary, *, tokens_per_image: int, image_size_px: int
) -> list[RenderedSample]:
    """Return samples of one picture each, in the order in which training would read them: like lengths together."""
    generator = np.random.default_rng([ord(letter) for letter in _SEED])
    texts = np.exp(generator.normal(np.log(lengths.median), lengths.spread, count)).astype(int)
    texts = texts.clip(4, lengths.longest - tokens_per_image)
    drawn = [
        _sample(index, int(text), lengths, vocabulary, tokens_per_image, image_size_px, generator)
        for index, text in enumerate(texts)
    ]
    order = epoch_order(texts, max(1, count // 4), _SEED, epoch=0)
    return [drawn[int(index)] for index in order]


def _sample(
    index: int,
    num_text: int,
    lengths: TextLengths,
    vocabulary: Vocabulary,
    tokens_per_image: int,
    image_size_px: int,
    generator: np.random.Generator,
) -> RenderedSample:
    words = generator.integers(3, vocabulary.num_words, num_text).tolist()
    ids = [*words[:1], *[vocabulary.image_id] * tokens_per_image, *words[1:]]
    num_answer = max(1, round(num_text * lengths.supervised_share))
    labels = [IGNORED_LABEL] * (len(ids) - num_answer) + ids[len(ids) - num_answer :]
    image = generator.integers(0, 256, (3, image_size_px, image_size_px), dtype=np.uint8)
    return RenderedSample(key=str(index), input_ids=ids, labels=labels, image=image)


class SampleSource:
    """The same samples over and over, some of them an update (a `runtime.source.BatchSource`)."""

    def __init__(
        self,
        samples: Sequence[RenderedSample],
        *,
        batch_size: int,
        microbatch_size: int,
        pad_id: int,
        max_row_tokens: int | None,
    ):
        """With `max_row_tokens` the samples of a microbatch are packed into rows."""
        self._samples, self._batch_size, self._microbatch_size = samples, batch_size, microbatch_size
        self._collate = partial(collate, pad_id=pad_id, max_row_tokens=max_row_tokens)

    def updates(self, start_update: int, *, rank: int, world_size: int) -> Iterator[Sequence[ConversationBatch]]:
        """Yield each update's microbatches."""
        update = start_update
        while True:
            first = update * self._batch_size
            yield [
                self._collate([self._samples[place % len(self._samples)] for place in range(start, start + size)])
                for start in range(first, first + self._batch_size, self._microbatch_size)
                for size in [min(self._microbatch_size, first + self._batch_size - start)]
            ]
            update += 1

    def fingerprint(self) -> str:
        """Return what identifies the data."""
        return f"{len(self._samples)} samples"

    def audit(self) -> dict[str, object]:
        """Return no counts: nothing is skipped."""
        return {}
