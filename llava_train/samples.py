"""From positions in the reading order to one microbatch: read, render, decode; the same in any process."""

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from imagetext.conversations import Conversation, Rendered
from imagetext.decode import DecodeError
from imagetext.picture_store import PictureStore
from imagetext.rendering_errors import RenderingError
from llava_train.batch import ConversationBatch, RenderedSample
from llava_train.order import ReadingOrder
from llava_train.pixel_cache import MAX_CACHE_BYTES, PixelCache
from llava_train.pixels import PixelGeometry

Render = Callable[[Conversation], Rendered]
"""From a conversation to its token ids and labels."""
Collate = Callable[[Sequence[RenderedSample]], ConversationBatch]
"""From samples to one microbatch, empty when there are none."""

MAX_CACHED_TOKENS = 8_000_000
"""Tokens of rendered conversations that one training process and its workers keep, 8 bytes each with the label: a chat
template costs more than the rest of a sample, and a miniature fits whole.
"""


@dataclass(frozen=True, kw_only=True)
class BadSample:
    """A conversation that can't be trained on."""

    index: int
    """Its place among the phase's conversations."""
    reason: str
    """A short word to count by."""
    detail: str


@dataclass(frozen=True, kw_only=True)
class Microbatch:
    """One microbatch, and what is missing from it."""

    batch: ConversationBatch
    num_drawn: int
    """Positions it was made of, bad samples included."""
    bad: tuple[BadSample, ...]


class SampleMaker:
    """Make microbatches; holds what may be kept between them (token ids, decoded pictures)."""

    def __init__(
        self,
        *,
        conversations: Sequence[Conversation],
        order: ReadingOrder,
        pictures: PictureStore,
        geometry: PixelGeometry,
        render: Render,
        collate: Collate,
        num_processes: int = 1,
    ):
        """Take what is read and how; the memory for what is kept is shared out among `num_processes`."""
        self._conversations = conversations
        self._order = order
        self._render = render
        self._collate = collate
        self._pixels = PixelCache(geometry, pictures, MAX_CACHE_BYTES // num_processes)
        self._tokens_left = MAX_CACHED_TOKENS // num_processes
        self._rendered: dict[int, tuple[array[int], array[int]]] = {}
        self._bad: dict[int, BadSample] = {}

    def make(self, positions: range) -> Microbatch:
        """Return the microbatch of some global positions; a bad sample leaves a hole in it."""
        samples: list[RenderedSample] = []
        bad: list[BadSample] = []
        for position in positions:
            index = self._order.sample(position)
            made = self._bad.get(index) or self._sample(index)
            if isinstance(made, BadSample):
                self._bad[index] = made
                bad.append(made)
            else:
                samples.append(made)
        return Microbatch(batch=self._collate(samples), num_drawn=len(positions), bad=tuple(bad))

    def _sample(self, index: int) -> RenderedSample | BadSample:
        record = self._conversations[index]
        try:
            input_ids, labels = self._tokens(index, record)
            image = None if record.image is None else self._pixels.read(record.image)
        except (DecodeError, RenderingError) as error:
            return BadSample(index=index, reason=error.reason, detail=str(error))
        return RenderedSample(key=record.id, input_ids=input_ids, labels=labels, image=image)

    def _tokens(self, index: int, record: Conversation) -> Rendered:
        if index in self._rendered:
            input_ids, labels = self._rendered[index]
            return Rendered(input_ids.tolist(), labels.tolist())
        rendered = self._render(record)
        num_tokens = len(rendered.input_ids)
        if num_tokens <= self._tokens_left:
            self._tokens_left -= num_tokens
            self._rendered[index] = array("i", rendered.input_ids), array("i", rendered.labels)
        return rendered
