"""Conversations and their pictures as an endless, randomly addressable supply of batches."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any

import numpy as np

from imagetext.picture_store import PictureStore
from imagetext.work_ahead import work_ahead
from llava_train.batch import ConversationBatch
from llava_train.config import ShortFirstConfig
from llava_train.corpus import PhaseConversations
from llava_train.order import Portion, ReadingOrder
from llava_train.pixels import PixelGeometry
from llava_train.samples import BadSample, Collate, Microbatch, Render, SampleMaker
from runtime.errors import UserError
from runtime.loop_config import LoopConfig

BUDGET_FLOOR_SAMPLES = 1000
"""Conversations against which the budget for bad samples is counted at least, as where images are paired with captions:
one bad picture is no reason to stop.
"""
PROBED_PICTURES = 1000
"""Pictures whose presence is looked at before training, spread over a phase: a wrong folder shows at once, and a
million files on a network's disk would take longer than the phase can wait.
"""


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
            order=reading_order(conversations, loop.batch_size, seed_parts, short_first),
            pictures=pictures,
            geometry=geometry,
            render=render,
            collate=collate,
            num_processes=max(1, num_workers),
        )
        self._bad: dict[int, str] = {}
        self._num_drawn = 0

    def updates(self, start_update: int, *, rank: int, world_size: int) -> Iterator[Sequence[ConversationBatch]]:
        """Yield each update's microbatches of one rank: a contiguous part of the update's positions.

        Raises UserError when more samples are bad than the budget allows.
        """
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
        allowed = self._max_bad_share * PROBED_PICTURES
        if len(probed) < len(about_images):
            # Of a part of the pictures, chance alone may take three standard deviations more than the share of all.
            allowed += 3 * allowed**0.5
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
        for bad in made.bad:
            self._count_bad(bad)
        return made.batch

    def _count_bad(self, bad: BadSample) -> None:
        if bad.index in self._bad:
            return
        self._bad[bad.index] = bad.reason
        if len(self._bad) > self._max_bad_share * max(len(self._conversations), BUDGET_FLOOR_SAMPLES):
            raise self._too_many_bad(bad.detail)

    def _too_many_bad(self, detail: str) -> UserError:
        last = self._conversations[next(reversed(self._bad))]
        return UserError(
            f"too many bad samples, the last {last.id!r} ({detail})",
            where=self._pictures.folder,
            found=f"{len(self._bad)} of {len(self._conversations)}",
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
) -> ReadingOrder:
    """Return the order of a phase; raises UserError when a curriculum asks for answers shorter than there are."""
    short = [] if short_first is None else _short(conversations, short_first)
    return ReadingOrder(
        # Characters stand in for tokens: sorting needs no exact lengths, and nothing is tokenized before its turn.
        conversations.num_characters,
        batch_size,
        seed_parts,
        _portions(conversations),
        short=short,
        num_short_updates=0 if short_first is None else short_first.num_updates,
    )


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
