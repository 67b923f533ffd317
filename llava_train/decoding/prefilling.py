"""From questions to slots: pictures seen once, prompts computed together where they are alike."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from llava_train.decoding.cache import KeyValueCache
from llava_train.decoding.language import LanguagePasses
from llava_train.decoding.questions import Ask, Question
from llava_train.decoding.rows import QuestionColumns, RowState

See = Callable[[UInt8[Tensor, "images channel height width"]], Float[Tensor, "images patches width"]]
"""What the vision tower and the projector make of prepared pictures."""
PROMPT_MULTIPLE = 8
"""Stretches of prompt are padded to a multiple of this many tokens: prompts that hold a text of their own then come in
few lengths, and matrix units like such shapes.
"""


@dataclass(frozen=True)
class Seat:
    """One ask and the slots that its questions were given."""

    ask: Ask
    slots: tuple[int, ...]


@dataclass(frozen=True)
class _Likeness:
    """What asks must share to be computed together."""

    num_questions: int
    image_start: int
    stretch_lengths: tuple[int, ...]


class Prefill:
    """Compute prompts into slots and begin their answers."""

    def __init__(
        self,
        see: See,
        image_tokens: tuple[int, ...],
        language: LanguagePasses,
        cache: KeyValueCache,
        state: RowState,
    ):
        self._see, self._image_tokens = see, image_tokens
        self._language, self._cache, self._state = language, cache, state
        self._device = language.weights.embeddings.device

    def begin(self, seats: Sequence[Seat]) -> None:
        """Compute what was seated together; alike asks share every product, and an ask's questions share its picture.

        Raises ValueError for a prompt without its image tokens, or questions that differ before the picture's last.
        """
        alike: dict[_Likeness, list[Seat]] = defaultdict(list)
        for seat in seats:
            alike[self._likeness(seat.ask)].append(seat)
        for likeness, group in alike.items():
            features = self._features([seat.ask for seat in group])
            if likeness.num_questions == 1:
                self._begin_questions(group, 0, 0, likeness, features)
            else:
                self._share_picture(group, likeness, features)

    def _share_picture(self, seats: Sequence[Seat], likeness: _Likeness, features: Tensor) -> None:
        shared = likeness.image_start + len(self._image_tokens)
        first_slots = self._numbers([seat.slots[0] for seat in seats])
        tokens = [seat.ask.questions[0].token_ids[:shared] for seat in seats]
        embeddings = self._embeddings(tokens, shared, likeness.image_start, features)
        self._language.extend(self._cache, first_slots, embeddings, start=0, last=None)
        for index in range(1, likeness.num_questions):
            self._cache.copy(first_slots, self._numbers([seat.slots[index] for seat in seats]), shared)
        for index in range(likeness.num_questions):
            self._begin_questions(seats, index, shared, likeness, None)

    def _begin_questions(
        self, seats: Sequence[Seat], index: int, start: int, likeness: _Likeness, features: Tensor | None
    ) -> None:
        """Compute one question of each ask from `start` on, and begin its answer."""
        questions = [seat.ask.questions[index] for seat in seats]
        slots = self._numbers([seat.slots[index] for seat in seats])
        lengths = self._numbers([len(question.token_ids) for question in questions])
        stretches = [question.token_ids[start:] for question in questions]
        embeddings = self._embeddings(stretches, likeness.stretch_lengths[index], likeness.image_start, features)
        hidden = self._language.extend(self._cache, slots, embeddings, start=start, last=lengths - start - 1)
        assert hidden is not None, "the last tokens were asked for"
        self._state.begin(slots, self._language.logits(hidden), lengths, self._columns(questions))

    def _embeddings(
        self,
        rows: Sequence[tuple[int, ...]],
        padded_length: int,
        image_start: int,
        features: Float[Tensor, "rows patches width"] | None,
    ) -> Float[Tensor, "rows tokens width"]:
        ids = np.zeros((len(rows), padded_length), dtype=np.int64)
        for row, tokens in zip(ids, rows, strict=True):
            row[: len(tokens)] = tokens
        embeddings = self._language.embed(self._sent(ids))
        if features is not None:
            embeddings[:, image_start : image_start + len(self._image_tokens)] = features.to(embeddings.dtype)
        return embeddings

    def _features(self, asks: Sequence[Ask]) -> Float[Tensor, "asks patches width"]:
        return self._see(self._sent(np.stack([ask.pixels for ask in asks])))

    def _columns(self, questions: Sequence[Question]) -> QuestionColumns:
        return QuestionColumns(
            seeds=self._numbers([question.seed for question in questions]),
            top_k=self._numbers([question.top_k for question in questions]),
            temperature=self._sent(np.array([question.temperature for question in questions], dtype=np.float32)),
        )

    def _likeness(self, ask: Ask) -> _Likeness:
        first = ask.questions[0].token_ids
        start = first.index(self._image_tokens[0]) if self._image_tokens[0] in first else 0
        end = start + len(self._image_tokens)
        for question in ask.questions:
            tokens = question.token_ids
            if tokens[start:end] != self._image_tokens or tokens[:end] != first[:end]:
                raise ValueError(
                    f"ask {ask.ticket}: a prompt must have {len(self._image_tokens)} image tokens side by side, and an "
                    "ask's prompts the same tokens up to their last"
                )
        shared = end if len(ask.questions) > 1 else 0
        lengths = tuple(_padded(len(question.token_ids) - shared) for question in ask.questions)
        return _Likeness(len(ask.questions), start, lengths)

    def _numbers(self, values: Sequence[int]) -> Int64[Tensor, " rows"]:
        return self._sent(np.array(values, dtype=np.int64))

    def _sent(self, array: Any) -> Tensor:
        """Send an array to the device; to a GPU from pinned memory, so that the host needn't wait for its work."""
        tensor = torch.from_numpy(array)
        return tensor if self._device.type == "cpu" else tensor.pin_memory().to(self._device, non_blocking=True)


def _padded(length: int) -> int:
    return -(-length // PROMPT_MULTIPLE) * PROMPT_MULTIPLE
