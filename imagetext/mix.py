"""Which caption a sample is seen with: the only place in the house that chooses.

The choice is a pure function of (seed, epoch, data-set-qualified key), so that any world size, worker count or resume
point draws the same. The number that decides for or against the original caption is drawn once and compared with the
share: raising the share turns recaptions into originals and never the reverse, so runs of different shares nest.
"""

import re
from bisect import bisect_right
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from imagetext.samples import ORIGINAL
from runtime.errors import UserError
from runtime.seeds import derive, uniform

RECAPTION = "recaption"
CONCAT = "concat"
FIRST_SENTENCE = "recaption_first_sentence"
RANDOM_SENTENCE = "recaption_random_sentence"
_SOURCES_OF_RECIPES = {
    CONCAT: (ORIGINAL, RECAPTION),
    FIRST_SENTENCE: (RECAPTION,),
    RANDOM_SENTENCE: (RECAPTION,),
}
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


@dataclass(frozen=True, kw_only=True)
class CaptionMixConfig:
    """Say how original captions and others are mixed."""

    original_share: float = 1.0
    """Share of samples seen with their original caption (the paper's p), in [0, 1]."""
    others: dict[str, float] = field(default_factory=lambda: {RECAPTION: 1.0})
    """What the rest is seen with: recipe -> weight. Recipes: recaption, concat (original + ", " + recaption),
    recaption_first_sentence, recaption_random_sentence, or the name of any other caption source."""
    share_changes: dict[int, float] = field(default_factory=dict)
    """Later values of original_share: global sample position from which on -> share."""

    def __post_init__(self) -> None:
        for name, share in [("original_share", self.original_share), *self._named_changes()]:
            if not 0.0 <= share <= 1.0:
                raise UserError(f"{name} is out of range", found=share, wanted="a share in [0, 1]")
        for recipe, weight in self.others.items():
            if recipe == ORIGINAL:
                raise UserError("others may not name original", fix="Set original_share instead")
            if not weight > 0.0:
                raise UserError(f"others.{recipe} is out of range", found=weight, wanted="a weight above 0")
        if min(self.shares) < 1.0 and not self.others:
            raise UserError("others is empty", wanted="at least one recipe when original_share is below 1")
        if any(position < 0 for position in self.share_changes):
            raise UserError("share_changes has a negative position", found=min(self.share_changes))

    @property
    def shares(self) -> tuple[float, ...]:
        """Return every share that will be in force."""
        return (self.original_share, *(share for _, share in sorted(self.share_changes.items())))

    @property
    def required_sources(self) -> tuple[str, ...]:
        """Return the caption sources that some sample will need, sorted."""
        sources = {ORIGINAL} if max(self.shares) > 0.0 else set()
        if min(self.shares) < 1.0:
            sources.update(source for recipe in self.others for source in sources_of(recipe))
        return tuple(sorted(sources))

    def _named_changes(self) -> list[tuple[str, float]]:
        return [(f"share_changes.{position}", share) for position, share in self.share_changes.items()]


@dataclass(frozen=True)
class Choice:
    """Tell which caption a sample is seen with."""

    text: str
    source: str
    """"original" or the recipe that made the text."""
    fallback: bool
    """Whether the caption that was drawn does not exist for this sample."""


def sources_of(recipe: str) -> tuple[str, ...]:
    """Return the caption sources a recipe is made from."""
    return _SOURCES_OF_RECIPES.get(recipe, (recipe,))


def check_sources(config: CaptionMixConfig, available: Collection[str]) -> None:
    """Refuse a mix that needs a caption source which the data does not have.

    Raises:
        UserError: naming the source and what is available.
    """
    for source in config.required_sources:
        if source not in available:
            raise UserError(
                f"caption source {source} does not exist",
                wanted=f"one of {', '.join(sorted(available))}",
                fix=f"Give its folder as data.sidecars.{source}, or change the mix",
            )


class CaptionMix:
    """Choose captions."""

    def __init__(self, config: CaptionMixConfig, seed: int):
        self.config = config
        self._seed = seed
        self._positions = sorted(config.share_changes)
        self._shares = config.shares
        self._recipes = list(config.others)
        total = sum(config.others.values())
        self._bounds = [sum(list(config.others.values())[: i + 1]) / total for i in range(len(self._recipes))]

    def original_share_at(self, position: int) -> float:
        """Return the share of originals in force at a global sample position."""
        return self._shares[bisect_right(self._positions, position)]

    def choose(self, captions: Mapping[str, str], qualified_key: str, epoch: int, position: int) -> Choice:
        """Return the caption of a sample at a global position.

        When the drawn caption does not exist for this sample, the other recipes are tried in their order (none where
        the share of originals is 1), then the original, even where its share is 0. `fallback` says so, for the loader
        to count. A sample without any caption gets "".
        """
        share = self.original_share_at(position)
        drawn = ORIGINAL
        if uniform(self._seed, "caption", epoch, qualified_key) >= share:
            drawn = self._draw_recipe(qualified_key, epoch)
        others = [recipe for recipe in self._recipes if recipe != drawn] if share < 1.0 else []
        for recipe in (drawn, *others, ORIGINAL):
            text = self._compose(recipe, captions, qualified_key, epoch)
            if text is not None:
                return Choice(text, recipe, recipe != drawn)
        return Choice("", drawn, True)

    def _draw_recipe(self, qualified_key: str, epoch: int) -> str:
        if len(self._recipes) == 1:
            return self._recipes[0]
        draw = uniform(self._seed, "recipe", epoch, qualified_key)
        return self._recipes[min(bisect_right(self._bounds, draw), len(self._recipes) - 1)]

    def _compose(self, recipe: str, captions: Mapping[str, str], qualified_key: str, epoch: int) -> str | None:
        if any(source not in captions for source in sources_of(recipe)):
            return None
        if recipe == CONCAT:
            return ", ".join(part for part in (captions[ORIGINAL], captions[RECAPTION]) if part)
        if recipe == FIRST_SENTENCE:
            return split_sentences(captions[RECAPTION])[0]
        if recipe == RANDOM_SENTENCE:
            sentences = split_sentences(captions[RECAPTION])
            return sentences[derive(self._seed, "sentence", epoch, qualified_key) % len(sentences)]
        return captions[recipe]


def split_sentences(text: str) -> list[str]:
    """Return the sentences of a caption, at least one; each ends where ., ! or ? is followed by white space."""
    return _SENTENCE_END.split(text.strip())
