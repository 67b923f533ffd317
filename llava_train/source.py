"""Conversations and their pictures as an endless, randomly addressable supply of batches."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from imagetext.conversations import Conversation, Rendered
from imagetext.decode import DecodeError
from imagetext.rendering_errors import RenderingError
from llava_train.batch import ConversationBatch, RenderedSample
from llava_train.config import ShortFirstConfig
from llava_train.order import ReadingOrder
from llava_train.pixel_cache import PixelCache
from llava_train.pixels import PixelGeometry
from runtime.errors import UserError
from runtime.loop_config import LoopConfig

Render = Callable[[Conversation], Rendered]
"""From a conversation to its token ids and labels."""
Collate = Callable[[Sequence[RenderedSample]], ConversationBatch]
"""From a microbatch's samples to its tensors."""

MAX_CACHED_RECORDS = 50_000
"""Rendered conversations kept in memory; a chat template costs more than the rest of a sample."""

BUDGET_FLOOR_SAMPLES = 1000
"""Conversations against which the budget for bad samples is counted at least, as where images are paired with captions:
one bad picture is no reason to stop.
"""


class ConversationSource:
    """Implement the loop's counting batch source over LLaVA conversations.

    `ReadingOrder` says which sample has global position i; epochs run on without a drop.
    A sample whose picture can't be decoded, or that can't be rendered, leaves a hole in its batch and is counted.
    """

    def __init__(  # noqa: PLR0913 - what a phase reads, each part named at the call
        self,
        *,
        conversations: Sequence[Conversation],
        images: Path,
        render: Render,
        geometry: PixelGeometry,
        loop: LoopConfig,
        collate: Collate,
        max_bad_share: float,
        seed_parts: tuple[int | str, ...],
        short_first: ShortFirstConfig | None = None,
    ):
        self._conversations = conversations
        self._images = images
        self._render = render
        self._geometry = geometry
        self._batch_size = loop.batch_size
        self._microbatch_size = loop.microbatch_size
        self._collate = collate
        self._max_bad_share = max_bad_share
        # Characters stand in for tokens: sorting needs no exact lengths, and nothing is tokenized before its turn.
        lengths = [sum(len(turn.text) for turn in record.turns) for record in conversations]
        short = [] if short_first is None else _short(conversations, short_first)
        num_short_updates = 0 if short_first is None else short_first.num_updates
        self._order = ReadingOrder(
            lengths, loop.batch_size, seed_parts, short=short, num_short_updates=num_short_updates
        )
        self._pixels = PixelCache(geometry)
        self._bad: dict[int, str] = {}
        self._rendered: dict[int, Rendered] = {}
        self._num_drawn = 0

    def updates(self, start_update: int, *, rank: int, world_size: int) -> Iterator[Sequence[ConversationBatch]]:
        """Yield each update's microbatches of one rank: a contiguous part of the update's positions."""
        share = self._batch_size // world_size
        size = self._microbatch_size or share
        update = start_update
        while True:
            first = update * self._batch_size + rank * share
            microbatches = [
                self._batch(range(start, min(start + size, first + share)))
                for start in range(first, first + share, size)
            ]
            # The loop would stop here too, but could not say why. Other ranks may have samples where this one has none.
            if world_size == 1 and not any(batch.keys for batch in microbatches):
                raise self._too_many_bad(f"all {share} of update {update} are bad")
            yield microbatches
            update += 1

    def fingerprint(self) -> str:
        """Return a digest of every conversation in order; pictures count by name."""
        digest = hashlib.sha256()
        for record in self._conversations:
            digest.update(repr(record).encode())
        return digest.hexdigest()[:16]

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

    def _batch(self, positions: range) -> ConversationBatch:
        samples = [self._sample(position) for position in positions]
        self._num_drawn += len(samples)
        return self._collate([sample for sample in samples if sample is not None])

    def _sample(self, position: int) -> RenderedSample | None:
        index = self._order.sample(position)
        if index in self._bad:
            return None
        record = self._conversations[index]
        try:
            input_ids, labels = self._tokens(index)
            image = None if record.image is None else self._pixels.read(self._images / record.image)
        except (DecodeError, RenderingError) as error:
            self._skip(index, error.reason, str(error))
            return None
        return RenderedSample(key=record.id, input_ids=input_ids, labels=labels, image=image)

    def _tokens(self, index: int) -> Rendered:
        if index in self._rendered:
            return self._rendered[index]
        rendered = self._render(self._conversations[index])
        if len(self._rendered) < MAX_CACHED_RECORDS:
            self._rendered[index] = rendered
        return rendered

    def _skip(self, index: int, reason: str, detail: str) -> None:
        self._bad[index] = reason
        if len(self._bad) > self._max_bad_share * max(len(self._conversations), BUDGET_FLOOR_SAMPLES):
            raise self._too_many_bad(detail)

    def _too_many_bad(self, detail: str) -> UserError:
        last = self._conversations[next(reversed(self._bad))]
        return UserError(
            f"too many bad samples, the last {last.id!r} ({detail})",
            where=self._images,
            found=f"{len(self._bad)} of {len(self._conversations)}",
            wanted=f"at most {self._max_bad_share:.1%}",
            fix="Repair the data, or raise max_bad_share.",
        )


def _short(conversations: Sequence[Conversation], config: ShortFirstConfig) -> list[int]:
    """Return the conversations with short answers; raises UserError when there is none."""
    words = [
        sum(len(turn.text.split()) for turn in record.turns if turn.role == "assistant") for record in conversations
    ]
    short = [index for index, num_words in enumerate(words) if num_words <= config.max_answer_words]
    if not short:
        where, wanted = "short_first.max_answer_words", f"at least {min(words)}, the fewest there are"
        raise UserError("no answer is as short", where=where, found=config.max_answer_words, wanted=wanted)
    return short
