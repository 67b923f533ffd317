"""How often caption flags are raised where a fault was planted, and where none was: precision and recall of each."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.planted_captions import PLANTS, Planted, planted_captions
from imagetext.caption_flags.cleaning import clean_caption
from imagetext.caption_flags.finding import find_flags
from imagetext.conversations import PAPER_PROMPT
from recaption.leaks import find_leaks
from runtime.tables import markdown_table

ABOUT = """\
Captions of drawn pictures in a person's words, as many with each kind of fault planted in them in several forms, and
sound captions that come near to one (quoted signs, lists, emphasis). A flag's precision is the share of captions that
raise it in which it was planted; its recall the share of those in which it was planted that raise it. The forms are
ours: the figures say that detectors do what they are meant to, not how often captioners go wrong in ways that nobody
thought of. The last line is the time that a caption takes on one core, flags and cleaned caption together."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """How many captions of each kind."""

    num_each: int = 1000


SIZES = {"full": Size(), "tiny": Size(num_each=40)}


@dataclass(frozen=True, kw_only=True)
class Score:
    """How a flag did."""

    flag: str
    num_planted: int
    num_raised: int
    num_right: int
    """Raised where it was planted."""

    @property
    def precision(self) -> float:
        """Return the share of those raised that were planted."""
        return self.num_right / self.num_raised if self.num_raised else 0.0

    @property
    def recall(self) -> float:
        """Return the share of those planted that were raised."""
        return self.num_right / self.num_planted


def raised(caption: Planted) -> frozenset[str]:
    """Return all flags of a caption, those of leaks included."""
    leaks = find_leaks(caption.text, prompt=PAPER_PROMPT, alt_text=caption.alt_text)
    return frozenset((*find_flags(caption.text, finish_reason=caption.finish_reason), *leaks))


def score(captions: Sequence[Planted]) -> list[Score]:
    """Return how each flag that can be planted did."""
    found = [raised(caption) for caption in captions]
    return [
        Score(
            flag=flag,
            num_planted=sum(flag in caption.planted for caption in captions),
            num_raised=sum(flag in flags for flags in found),
            num_right=sum(flag in flags and flag in caption.planted for caption, flags in zip(captions, found)),
        )
        for flag in PLANTS
    ]


def measure(size: Size, repeats: int) -> str:
    """Return a table of precision and recall by flag, and the time a caption takes."""
    captions = planted_captions(size.num_each)
    table = as_table(score(captions))
    seconds = min(_seconds(captions) for _ in range(repeats))
    return f"{table}\n{len(captions)} captions; {1e6 * seconds / len(captions):.0f} microseconds each.\n"


def as_table(scores: Sequence[Score]) -> str:
    """Return scores as a table, a flag a line."""
    rows = [(one.flag, one.num_planted, one.num_raised, f"{one.precision:.3f}", f"{one.recall:.3f}") for one in scores]
    return markdown_table(("flag", "planted", "raised", "precision", "recall"), rows)


def _seconds(captions: Sequence[Planted]) -> float:
    began = time.perf_counter()
    for caption in captions:
        clean_caption(caption.text, raised(caption))
    return time.perf_counter() - began
