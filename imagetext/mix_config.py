"""What a user may say about the mix of captions."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Literal

from imagetext.samples import ORIGINAL
from runtime.errors import UserError

RECAPTION = "recaption"
CONCAT = "concat"
FIRST_SENTENCE = "recaption_first_sentence"
RANDOM_SENTENCE = "recaption_random_sentence"
_SOURCES_OF_RECIPES = {
    CONCAT: (ORIGINAL, RECAPTION),
    FIRST_SENTENCE: (RECAPTION,),
    RANDOM_SENTENCE: (RECAPTION,),
}


@dataclass(frozen=True, kw_only=True)
class ScoreShareConfig:
    """Let two scores of a picture's captions say how often it is seen with its original.

    share = lowest + (highest - lowest) * sigmoid((org_clip_score - re_clip_score - even_difference) / temperature)
    """

    temperature: float
    """Difference of the scores over which the odds change by a factor of e; cosines of a picture's two captions differ
    by some hundredths.
    """
    even_difference: float = 0.0
    """org_clip_score - re_clip_score at which the share lies half-way between lowest and highest."""
    lowest_share: float = 0.0
    """Share of the original where the recaption fits much better."""
    highest_share: float = 1.0
    """Share of the original where it fits much better."""
    source: str = RECAPTION
    """Caption source whose sidecar has the scores, as `recaption run` with `clip_score.model` writes them."""

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise UserError("out of range", where="temperature", found=self.temperature, wanted="more than 0")
        for name, share in (("lowest_share", self.lowest_share), ("highest_share", self.highest_share)):
            _check_share(name, share)
        if self.lowest_share > self.highest_share:
            found = f"{self.lowest_share:g} above {self.highest_share:g}"
            raise UserError("lowest_share is above highest_share", found=found, wanted="the lower one first")


@dataclass(frozen=True, kw_only=True)
class CaptionMixConfig:
    """Say how original captions and others are mixed."""

    original_share: float = 1.0
    """Share of samples seen with their original caption (the paper's p), in [0, 1]."""
    others: dict[str, float] = field(default_factory=lambda: {RECAPTION: 1.0})
    """What the rest is seen with: recipe -> weight. Recipes: recaption, concat (original + ", " + recaption),
    recaption_first_sentence, recaption_random_sentence, or the name of any other caption source."""
    share_changes: dict[int, float] = field(default_factory=dict)
    """Later values of original_share: place from which on -> share."""
    share_changes_unit: Literal["samples", "updates"] = "samples"
    """What the places of share_changes count: samples seen, or updates of the training run."""
    share_course: Literal["stepped", "linear"] = "stepped"
    """How the share goes from one of share_changes' values to the next, original_share standing at place 0."""
    dataset_shares: dict[str, float] = field(default_factory=dict)
    """Data sets whose samples have an original_share of their own, of no schedule: name -> share."""
    score_share: ScoreShareConfig | None = None
    """Share of each sample by the scores of its captions; one without scores has the share that it would have anyway.
    """
    also: list[str] = field(default_factory=list)
    """Recipes that every image is seen with as well, beside the caption that is drawn and in the same step."""

    def __post_init__(self) -> None:
        for name, share in [("original_share", self.original_share), *self._named_shares()]:
            _check_share(name, share)
        for recipe, weight in self.others.items():
            if recipe == ORIGINAL:
                raise UserError("others may not name original", fix="Set original_share instead")
            if not weight > 0.0:
                raise UserError(f"others.{recipe} is out of range", found=weight, wanted="a weight above 0")
        if min(self.shares) < 1.0 and not self.others:
            raise UserError("others is empty", wanted="at least one recipe when original_share is below 1")
        if any(place < 0 for place in self.share_changes):
            raise UserError("share_changes has a negative position", found=min(self.share_changes))
        self._check_schedule()
        repeated = [recipe for recipe in self.also if self.also.count(recipe) > 1 and recipe != RANDOM_SENTENCE]
        if repeated:
            wanted = f"each recipe once, but for {RANDOM_SENTENCE}"
            raise UserError("also names a recipe twice", found=repeated[0], wanted=wanted)

    def _check_schedule(self) -> None:
        if self.share_changes:
            if self.share_course == "linear" and 0 in self.share_changes:
                fix = "Set original_share to it"
                raise UserError("share_changes has a place 0", found=self.share_changes[0], fix=fix)
            return
        for name, found in (("share_changes_unit", self.share_changes_unit), ("share_course", self.share_course)):
            if found not in ("samples", "stepped"):
                raise UserError(f"{name} is of no use", found=found, wanted="share_changes beside it")

    @property
    def shares(self) -> tuple[float, ...]:
        """Return every share that will be in force somewhere, or the bounds of those that will."""
        return (*self._scheduled_shares, *self.dataset_shares.values(), *self._scored_shares)

    @property
    def recipes(self) -> tuple[str, ...]:
        """Return what captions can come from, the original first, each once."""
        return tuple(dict.fromkeys((ORIGINAL, *self.others, *self.also)))

    @property
    def scored_source(self) -> str | None:
        """Return the caption source whose scores shares go by."""
        return None if self.score_share is None else self.score_share.source

    @property
    def last_original_share(self) -> float:
        """Return the share that the schedule ends with."""
        return self._scheduled_shares[-1]

    @property
    def required_sources(self) -> tuple[str, ...]:
        """Return the caption sources that some sample will need, sorted."""
        return self._sources_for(self.shares)

    def sources_of_dataset(self, name: str, *, is_scored: bool) -> tuple[str, ...]:
        """Return the caption sources that samples of one data set will need, sorted."""
        own = self.dataset_shares.get(name)
        shares = self._scheduled_shares if own is None else (own,)
        return self._sources_for((*shares, *(self._scored_shares if is_scored else ())))

    @property
    def _scheduled_shares(self) -> tuple[float, ...]:
        return (self.original_share, *(share for _, share in sorted(self.share_changes.items())))

    @property
    def _scored_shares(self) -> tuple[float, ...]:
        scored = self.score_share
        return () if scored is None else (scored.lowest_share, scored.highest_share)

    def _sources_for(self, shares: Collection[float]) -> tuple[str, ...]:
        sources = {ORIGINAL} if max(shares) > 0.0 else set()
        recipes = [*self.also, *(self.others if min(shares) < 1.0 else ())]
        sources.update(source for recipe in recipes for source in sources_of(recipe))
        return tuple(sorted(sources))

    def _named_shares(self) -> list[tuple[str, float]]:
        changes = [(f"share_changes.{place}", share) for place, share in self.share_changes.items()]
        return changes + [(f"dataset_shares.{name}", share) for name, share in self.dataset_shares.items()]


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
            raise missing_source(source, available)


def missing_source(source: str, available: Collection[str], folder_field: str = "data.sidecars") -> UserError:
    """Return what to say of a caption source that is not there."""
    return UserError(
        f"caption source {source} does not exist",
        wanted=f"one of {', '.join(sorted(available))}",
        fix=f"Give its folder as {folder_field}.{source}, or change the mix",
    )


def _check_share(name: str, share: float) -> None:
    if not 0.0 <= share <= 1.0:
        raise UserError(f"{name} is out of range", found=share, wanted="a share in [0, 1]")
