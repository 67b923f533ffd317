"""Conversations and their pictures as an endless, randomly addressable supply of batches."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any

import numpy as np
from jaxtyping import Bool, Int64, Integer

from imagetext.picture_store import PictureStore
from imagetext.work_ahead import work_ahead
from llava_train.batch import ConversationBatch
from llava_train.budget import allowed_bad, allowed_bad_of_part
from llava_train.config import ShortFirstConfig
from llava_train.corpus import PhaseConversations
from llava_train.order import Portion, ReadingOrder
from llava_train.pixels import PixelGeometry
from llava_train.samples import BadSample, Collate, Microbatch, Render, SampleMaker
from runtime.errors import UserError
from runtime.loop_config import LoopConfig

PROBED_PICTURES = 1000
"""Pictures whose presence is looked at before training, spread over a phase: a wrong folder shows at once, and a
million files on a network's disk would take longer than the phase can wait.
"""
CHARACTERS_PER_TOKEN = 4
"""Of English text under LLaMA-3's tokenizer, about: what weighs a picture's tokens against the characters of texts."""


class ConversationSource:
    """Implement the loop's counting batch source over LLaVA conversations.

    `ReadingOrder` says which sample has global position i; epochs run on without a drop.
    A sample whose picture is missing or can't be decoded, or that can't be rendered, leaves a hole in its batch and is
    counted. Processes that work ahead change nothing in what is read.
    """

    def __init__(  # noqa: PLR0913 - what a phase reads, each part named at the call
        self,
        *,
        conversations: PhaseConversations,
        pictures: PictureStore,
        render: Render,
        collate: Collate,
        geometry: PixelGeometry,
        num_image_tokens: int,
        loop: LoopConfig,
        max_bad_share: float,
        seed_parts: tuple[int | str, ...],
        short_first: ShortFirstConfig | None = None,
        num_workers: int = 0,
    ):
        self._conversations = conversations
        self._pictures = pictures
        self._batch_size = loop.batch_size
        self._microbatch_size = loop.microbatch_size
        self._max_bad_share = max_bad_share
        self._num_workers = num_workers
        self._maker = SampleMaker(
            conversations=conversations,
            order=reading_order(
                conversations, loop.batch_size, seed_parts, short_first, num_image_tokens=num_image_tokens
            ),
            pictures=pictures,
            geometry=geometry,
            render=render,
            collate=collate,
            num_processes=max(1, num_workers),
        )
        self._bad: dict[int, str] = {}
        self._num_drawn = 0
        # Of this process alone, since it began; `_bad` and `_num_drawn` hold those of a checkpoint too.
        self._num_own_drawn = self._num_own_bad = 0
        self._world_size = 1

    def updates(self, start_update: int, *, rank: int, world_size: int) -> Iterator[Sequence[ConversationBatch]]:
        """Yield each update's microbatches of one rank: a contiguous part of the update's positions.

        Raises UserError when more samples are bad than the budget allows.
        """
        self._world_size = world_size
        share = self._batch_size // world_size
        size = self._microbatch_size or share
        positions = _positions(start_update, self._batch_size, range(rank * share, (rank + 1) * share), size)
        made = work_ahead(self._maker.make, positions, self._num_workers)
        for update in count(start_update):
            microbatches = [self._counted(next(made)) for _ in range(0, share, size)]
            # The loop would stop here too, but could not say why. Other ranks may have samples where this one has none.
            if world_size == 1 and not any(batch.keys for batch in microbatches):
                raise self._too_many_bad(f"all {share} of update {update} are bad")
            yield microbatches

    def refuse_missing_pictures(self) -> None:
        """Raise UserError when more pictures are missing than the budget for bad samples can be meant for."""
        about_images = np.flatnonzero(self._conversations.has_image)
        probed = about_images[:: -(-len(about_images) // PROBED_PICTURES) or 1]
        missing = [int(index) for index in probed if not self._pictures.holds(self._image(int(index)))]
        is_part = len(probed) < len(about_images)
        allowed = (allowed_bad_of_part if is_part else allowed_bad)(self._max_bad_share, len(probed))
        if len(missing) > allowed:
            first = self._conversations[missing[0]]
            raise UserError(
                f"the picture of conversation {first.id!r} is missing",
                where=self._pictures.folder / str(first.image),
                found=f"{len(missing)} missing of {len(probed)} looked for",
                wanted=f"at most {int(allowed)}",
                fix="Correct data or image_folder, or fetch the pictures",
            )

    def fingerprint(self) -> str:
        """Return a digest of every conversation file in order, and of its weight; pictures count by name."""
        files = zip(self._conversations.files, self._conversations.weights, strict=True)
        facts = [[file.sha256, weight] for file, weight in files]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]

    def audit(self) -> dict[str, object]:
        """Return how many samples were drawn and how many of the data set can't be used, by reason."""
        return {
            "num_samples": len(self._conversations),
            "drawn": self._num_drawn,
            "skipped_samples": dict(sorted(Counter(self._bad.values()).items())),
        }

    def state_dict(self) -> dict[str, Any]:
        """Return what was counted, for the checkpoint."""
        return {"drawn": self._num_drawn, "bad": dict(self._bad)}

    def load_state_dict(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Take over what all ranks had counted."""
        self._num_drawn = sum(int(state["drawn"]) for state in states)
        self._bad = {int(index): str(reason) for state in states for index, reason in state["bad"].items()}

    def _counted(self, made: Microbatch) -> ConversationBatch:
        self._num_drawn += made.num_drawn
        self._num_own_drawn += made.num_drawn
        for bad in made.bad:
            self._count_bad(bad)
        return made.batch

    def _count_bad(self, bad: BadSample) -> None:
        if bad.index in self._bad:
            return
        self._bad[bad.index] = bad.reason
        self._num_own_bad += 1
        num_all = len(self._conversations)
        if len(self._bad) > allowed_bad(self._max_bad_share, num_all):
            raise self._too_many_bad(bad.detail)
        # What other ranks find is not known here. In its first epoch a rank draws its part, in later ones others' too.
        num_part = min(num_all, max(num_all // self._world_size, self._num_own_drawn))
        if self._num_own_bad > allowed_bad_of_part(self._max_bad_share, num_part):
            found = f"{self._num_own_bad} of the {num_part} that are read by one of {self._world_size} processes"
            raise self._too_many_bad(bad.detail, found)

    def _too_many_bad(self, detail: str, found: str | None = None) -> UserError:
        last = self._conversations[next(reversed(self._bad))]
        return UserError(
            f"too many bad samples, the last {last.id!r} ({detail})",
            where=self._pictures.folder,
            found=found or f"{len(self._bad)} of {len(self._conversations)}",
            wanted=f"at most {self._max_bad_share:.1%}",
            fix="Repair the data, or raise max_bad_share.",
        )

    def _image(self, index: int) -> str:
        return str(self._conversations[index].image)


def reading_order(
    conversations: PhaseConversations,
    batch_size: int,
    seed_parts: tuple[int | str, ...],
    short_first: ShortFirstConfig | None = None,
    *,
    num_image_tokens: int,
) -> ReadingOrder:
    """Return the order of a phase; raises UserError when a curriculum asks for answers shorter than there are."""
    short = [] if short_first is None else _short(conversations, short_first)
    return ReadingOrder(
        approximate_lengths(conversations.num_characters, conversations.has_image, num_image_tokens),
        batch_size,
        seed_parts,
        _portions(conversations),
        short=short,
        num_short_updates=0 if short_first is None else short_first.num_updates,
    )


def approximate_lengths(
    num_characters: Integer[np.ndarray, " samples"], has_image: Bool[np.ndarray, " samples"], num_image_tokens: int
) -> Int64[np.ndarray, " samples"]:
    """Return what to sort samples by, in characters, a picture among them with what its tokens would be in text.

    Sorting needs no exact lengths, and nothing is tokenized before its turn.
    """
    return num_characters + np.int64(CHARACTERS_PER_TOKEN * num_image_tokens) * has_image


def _portions(conversations: PhaseConversations) -> list[Portion]:
    return [Portion(conversations.samples(file), weight) for file, weight in enumerate(conversations.weights)]


def _short(conversations: PhaseConversations, config: ShortFirstConfig) -> list[Portion]:
    """Return the conversations with short answers; raises UserError when there is none."""
    words = conversations.num_answer_words
    if words.min() > config.max_answer_words:
        where, wanted = "short_first.max_answer_words", f"at least {words.min()}, the fewest there are"
        raise UserError("no answer is as short", where=where, found=config.max_answer_words, wanted=wanted)
    is_short = words <= config.max_answer_words
    return [Portion(one.samples[is_short[one.samples]], one.weight) for one in _portions(conversations)]


def _positions(start_update: int, batch_size: int, share: range, size: int) -> Iterator[range]:
    """Yield the positions of each of a rank's microbatches, update after update; `share` is its part of an update."""
    for update in count(start_update):
        first = update * batch_size
        for start in range(share.start, share.stop, size):
            yield range(first + start, first + min(start + size, share.stop))
