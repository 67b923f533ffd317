"""The seam to captioners: a stream of requests in, their results out as they come, each under its request's ticket.

A captioner is fed from many units without a pause between them, so that a server's batch never drains. Nothing but the
ticket joins a result to its request: no order is promised and none is needed.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

from PIL import Image

from recaption.named_prompts import Decoding

FinishReason = Literal["stop", "length"]
FailureKind = Literal["rejected", "out_of_memory", "timeout", "unavailable"]
"""rejected: this row is at fault, and asking again gives the same answer; the others may pass when asked again."""


@dataclass(frozen=True, kw_only=True)
class Caption:
    """What a captioner said to one prompt about one picture, and how it came to an end."""

    text: str
    finish_reason: FinishReason
    num_tokens: int | None
    """Tokens of the text, without the stop token; None where a server does not say."""
    mean_logprob: float | None
    """Mean log-probability of the tokens, the stop token included; None where a server does not say."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """One prepared picture and what is asked about it."""

    ticket: int
    """Names this request among all that its captioner was ever given."""
    picture: Any
    """What the captioner's own preparation made of the picture; cheap to hand from process to process."""
    prompts: tuple[str, ...]
    """The job's prompts for this picture, in the job's order: each text is answered alone, under the decoding that its
    place was opened with. Captioners share the work on the picture among them where they can."""
    key: str = ""
    """The row's name. What is sampled is drawn from (seed, key, prompt), whatever stands beside it."""
    decoding: Decoding | None = None
    """How all its answers are chosen, in place of what their places were opened with: of rows asked again."""
    max_new_tokens: int | None = None
    """Most tokens of its answers, in place of the job's: of rows asked again."""

    @property
    def is_usual(self) -> bool:
        """Tell whether it is answered as the captioner was opened for; whoever batches by position may take a batch's
        first request to speak for all, since rows asked again fill batches of their own."""
        return self.decoding is None and self.max_new_tokens is None


@dataclass(frozen=True)
class Hole:
    """A row without a picture. Whoever batches by position keeps its place; others pass over it."""


@dataclass(frozen=True)
class UnitEnd:
    """The end of a unit. Whoever batches by position ends its batch here; others pass over it."""


@dataclass(frozen=True, kw_only=True)
class Answered:
    """The captions of one request, one for each prompt, in their order."""

    ticket: int
    captions: tuple[Caption, ...]


@dataclass(frozen=True, kw_only=True)
class Failed:
    """A request that got no captions."""

    ticket: int
    kind: FailureKind
    message: str


Item: TypeAlias = Request | Hole | UnitEnd
Result: TypeAlias = Answered | Failed


class CaptionerLostError(Exception):
    """The captioner itself is of no use any more (a dead engine, a broken device); open it anew and ask again."""


@runtime_checkable
class Captioner(Protocol):
    """Anything that answers prompts about pictures, under settings fixed when it was opened."""

    @property
    def captioner_id(self) -> str:
        """Return what identifies model and settings; equal ids give equal captions of equal pictures and prompts."""

    @property
    def prepare(self) -> Callable[[Image.Image], Any]:
        """Return a function that makes of an RGB picture what requests carry; it can be pickled, and runs anywhere."""

    def answer(self, items: Iterator[Item]) -> Iterator[Result]:
        """Yield a result for every request, in any order; ends once `items` has ended and all are answered.

        Items are taken when there is room for them, so that a slow consumer or producer holds nothing up for long. A
        request that goes wrong is a `Failed`, never an exception. Raises CaptionerLostError when nothing more can be
        asked.
        """
