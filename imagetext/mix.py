"""Which captions a sample is seen with: the only place in the house that chooses.

The choice is a pure function of (seed, epoch, data-set-qualified key), so that any world size, worker count or resume
point draws the same. The number that decides for or against the original caption is drawn once and compared with the
share: raising the share turns recaptions into originals and never the reverse, so runs of different shares nest.
"""

import re
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass

from imagetext.mix_config import (
    CONCAT,
    FIRST_SENTENCE,
    RANDOM_SENTENCE,
    RECAPTION,
    CaptionMixConfig,
    ScoreShareConfig,
    check_sources,
    sources_of,
)
from imagetext.samples import ORIGINAL, CaptionScores
from imagetext.share import OriginalShare
from runtime.seeds import derive, uniform

__all__ = [
    "CONCAT",
    "FIRST_SENTENCE",
    "ORIGINAL",
    "RANDOM_SENTENCE",
    "RECAPTION",
    "CaptionMix",
    "CaptionMixConfig",
    "Choice",
    "ScoreShareConfig",
    "check_sources",
    "sources_of",
    "split_sentences",
]

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


@dataclass(frozen=True)
class Choice:
    """Tell which caption a sample is seen with."""

    text: str
    source: str
    """"original" or the recipe that made the text."""
    fallback: bool
    """Whether the caption that was drawn does not exist for this sample."""


@dataclass(frozen=True)
class _Place:
    """What recipes compose from: one sample in one epoch."""

    captions: Mapping[str, str]
    qualified_key: str
    epoch: int


class CaptionMix:
    """Choose captions."""

    def __init__(self, config: CaptionMixConfig, seed: int, batch_size: int | None = None):
        """`batch_size` counts the samples of an update, which a schedule over updates needs.

        Raises UserError where it does not know it.
        """
        self.config = config
        self._seed = seed
        self._share = OriginalShare(config, batch_size)
        self._recipes = list(config.others)
        total = sum(config.others.values())
        self._bounds = [sum(list(config.others.values())[: i + 1]) / total for i in range(len(self._recipes))]

    def original_share_at(self, position: int) -> float:
        """Return the share of originals that is scheduled for a global sample position."""
        return self._share.at(position)

    def choose(
        self,
        captions: Mapping[str, str],
        qualified_key: str,
        epoch: int,
        position: int,
        scores: CaptionScores | None = None,
    ) -> Choice:
        """Return the caption that is drawn for a sample at a global position.

        When it does not exist for this sample, the other recipes are tried in their order (none where the share of
        originals is 1), then the original, even where its share is 0. `fallback` says so, for the loader to count. A
        sample without any caption gets "".
        """
        share = self._share.of(qualified_key, position, scores)
        drawn = ORIGINAL
        if uniform(self._seed, "caption", epoch, qualified_key) >= share:
            drawn = self._draw_recipe(qualified_key, epoch)
        others = [recipe for recipe in self._recipes if recipe != drawn] if share < 1.0 else []
        return self._first((drawn, *others, ORIGINAL), _Place(captions, qualified_key, epoch), group=0)

    def choose_all(
        self,
        captions: Mapping[str, str],
        qualified_key: str,
        epoch: int,
        position: int,
        scores: CaptionScores | None = None,
    ) -> tuple[Choice, ...]:
        """Return all captions that a sample is seen with in one step: the one that is drawn, then those of `also`.

        Where one of the latter does not exist for this sample the original stands in, then any other that does.
        """
        drawn = self.choose(captions, qualified_key, epoch, position, scores)
        place = _Place(captions, qualified_key, epoch)
        also = enumerate(self.config.also, start=1)
        return drawn, *(self._first((recipe, ORIGINAL, *self._recipes), place, group) for group, recipe in also)

    def _first(self, recipes: tuple[str, ...], place: _Place, group: int) -> Choice:
        for recipe in recipes:
            text = self._compose(recipe, place, group)
            if text is not None:
                return Choice(text, recipe, recipe != recipes[0])
        return Choice("", recipes[0], True)

    def _draw_recipe(self, qualified_key: str, epoch: int) -> str:
        if len(self._recipes) == 1:
            return self._recipes[0]
        draw = uniform(self._seed, "recipe", epoch, qualified_key)
        return self._recipes[min(bisect_right(self._bounds, draw), len(self._recipes) - 1)]

    def _compose(self, recipe: str, place: _Place, group: int) -> str | None:
        captions = place.captions
        if any(source not in captions for source in sources_of(recipe)):
            return None
        if recipe == CONCAT:
            return ", ".join(part for part in (captions[ORIGINAL], captions[RECAPTION]) if part)
        if recipe == FIRST_SENTENCE:
            return split_sentences(captions[RECAPTION])[0]
        if recipe == RANDOM_SENTENCE:
            sentences = split_sentences(captions[RECAPTION])
            # Sentences that are seen together differ as long as there are enough of them.
            drawn = derive(self._seed, "sentence", place.epoch, place.qualified_key) + group
            return sentences[drawn % len(sentences)]
        return captions[recipe]


def split_sentences(text: str) -> list[str]:
    """Return the sentences of a caption, at least one; each ends where ., ! or ? is followed by white space."""
    return _SENTENCE_END.split(text.strip())
