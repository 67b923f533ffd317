"""Alt-text: what web pages say beside a picture. A noise model with declared rates.

Alt-text calls things by their species, which only the web knows; it seldom tells a colour, a relation or a place, now
and then it is a good human caption, and often enough it is about something else or about nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal, get_args

import numpy as np

from miniweb.furniture import EMPTY, FILE_NAMES, FOREIGN_GERMAN, FOREIGN_SPANISH, PREFIXES, SPAM, SUFFIXES
from miniweb.lexicon import (
    COLOUR_WORDS,
    FOREIGN_NOUNS,
    NOUNS,
    NUMBERS,
    PLACES,
    RELATION_WORDS,
    SIZE_WORDS,
    capitalised,
    joined,
    pick,
    pick_person_word,
    plural,
    with_article,
)
from miniweb.pointing import Group, groups, shared_relations
from miniweb.scene import RelationName, Scene
from runtime.errors import UserError

AltType = Literal["human", "species", "partial", "wrong", "filename", "spam", "foreign", "empty"]
ALT_TYPES: tuple[AltType, ...] = get_args(AltType)


@dataclass(frozen=True, kw_only=True)
class AltTextRates:
    """How often alt-text is what. The eight shares of types add up to one."""

    human: float = 0.15
    """Share of good human captions, with colour, relation and place."""
    species: float = 0.42
    """Share that calls things by their species names."""
    partial: float = 0.18
    """Share that names some things by generic names."""
    wrong: float = 0.13
    """Share that describes another image."""
    filename: float = 0.04
    """Share of file names."""
    spam: float = 0.03
    """Share of shop talk without content."""
    foreign: float = 0.03
    """Share in another tongue."""
    empty: float = 0.02
    """Share with no text, or a word for none."""
    colour_share: float = 0.2
    """In species and partial: share of named things whose colour is told."""
    place_share: float = 0.25
    """In species and partial: share that tells the place."""
    furniture_share: float = 0.9
    """In species and partial: share with a web page's furniture after the text."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0 <= value <= 1:
                raise UserError(field.name, where="alt-text rates", found=value, wanted="a share in [0, 1]")
        if abs(sum(self.type_shares) - 1) > 1e-9:
            raise UserError("shares of types", where="alt-text rates", found=sum(self.type_shares), wanted="a sum of 1")

    @property
    def type_shares(self) -> tuple[float, ...]:
        """Shares in the order of ALT_TYPES."""
        return tuple(getattr(self, name) for name in ALT_TYPES)


@dataclass(frozen=True, kw_only=True)
class ToldGroup:
    """What an alt-text says of one group of things, in its own words; an empty string is not told."""

    noun: str
    colour: str = ""
    size: str = ""
    many: int = 1

    @property
    def phrase(self) -> str:
        """Return `tiny crimson velmont`, or `two tiny crimson velmonts`."""
        words = [self.size, self.colour, plural(self.noun) if self.many > 1 else self.noun]
        return " ".join([NUMBERS[self.many]] * (self.many > 1) + [word for word in words if word])

    @property
    def with_article(self) -> str:
        """Return the phrase with an article, where it is one thing."""
        return self.phrase if self.many > 1 else with_article(self.phrase)


@dataclass(frozen=True, kw_only=True)
class Told:
    """Everything that an alt-text says about a picture."""

    groups: tuple[ToldGroup, ...] = ()
    relation: str = ""
    """Of the first group to the second, in words."""
    place: str = ""


@dataclass(frozen=True)
class AltText:
    """A web image's text, its type, and what it says."""

    text: str
    type: AltType
    told: Told = Told()


@dataclass(frozen=True)
class _Manner:
    """How much a writer tells: shares of things by species, with its kind, colour and size; of relation and place."""

    species: float
    kind: float
    colour: float
    size: float
    relation: float
    place: float
    num_things: tuple[float, ...]


_HUMAN = _Manner(species=0.35, kind=1.0, colour=0.9, size=0.4, relation=0.9, place=0.9, num_things=(0.0, 0.85, 0.15))
_CLEAN = _Manner(species=1.0, kind=1.0, colour=1.0, size=1.0, relation=1.0, place=1.0, num_things=(0.0, 0.0, 0.0, 1.0))
_NUM_NAMED = (0.4, 0.4, 0.2)
PREFIX_SHARE = 0.4
"""Of furnished alt-text: share with words before the text too."""

_HUMAN_RELATED = (
    "photo of {a} that is {relation} {b}, taken {place}",
    "my picture of {a} {relation} {b} {place}",
    "we saw {a} {relation} {b} when we were {place}",
    "lovely shot {place}: {a} {relation} {b}",
)
_HUMAN_LISTED = (
    "photo of {things}, taken {place}",
    "my picture of {things} {place}",
    "we saw {things} when we were {place}",
)
_PARAPHRASES = (
    "This page is about {things}{place}, as its words tell us.",
    "According to its text, the page deals with {things}{place}.",
)


def write(scene: Scene, generator: np.random.Generator, rates: AltTextRates, neighbour: Scene) -> AltText:
    """Write a scene's alt-text; a wrong one tells, in good faith, of the neighbour."""
    kind = _pick_type(generator, rates)
    if kind == "wrong":
        manners: Sequence[AltType] = ("human", "species", "partial")
        shares = np.array([rates.human, rates.species, rates.partial]) + 1e-12
        manner = manners[int(np.searchsorted(np.cumsum(shares / shares.sum()), generator.random()))]
        other = _WRITERS[manner](neighbour, generator, rates)
        return AltText(other.text, "wrong", other.told)
    return _WRITERS[kind](scene, generator, rates)


def write_clean(scene: Scene, generator: np.random.Generator) -> AltText:
    """Write what alt-text would be in a careful world: all things, by species and kind, with everything about them."""
    told = _tell(scene, generator, _CLEAN)
    extra = f", {joined([group.with_article for group in told.groups[2:]])} nearby" if len(told.groups) > 2 else ""
    head = Told(groups=told.groups[:2], relation=told.relation, place=told.place)
    return AltText(_human_text(head, generator) + extra, "human", told)


def paraphrase(alt: AltText, generator: np.random.Generator) -> str:
    """Reword an alt-text at greater length without saying anything that it doesn't say."""
    if not alt.told.groups:
        return (
            f'This page offers the following words: "{alt.text}".' if alt.text else "This page has no words of its own."
        )
    told = alt.told
    phrases = [group.with_article for group in told.groups]
    if told.relation:
        phrases = [f"{phrases[0]} which is {told.relation} {phrases[1]}", *phrases[2:]]
    place = f" {told.place}" if told.place else ""
    return pick(_PARAPHRASES, generator).format(things=joined(phrases), place=place)


def _pick_type(generator: np.random.Generator, rates: AltTextRates) -> AltType:
    position = int(np.searchsorted(np.cumsum(rates.type_shares), generator.random(), side="right"))
    return ALT_TYPES[min(position, len(ALT_TYPES) - 1)]


def _tell(scene: Scene, generator: np.random.Generator, manner: _Manner) -> Told:
    """Choose what is told of a scene, and in which words."""
    everything = groups(scene)
    num_told = 1 + int(np.searchsorted(np.cumsum(manner.num_things), generator.random(), side="right"))
    chosen = [everything[i] for i in generator.permutation(len(everything))[:num_told]]
    told = tuple(_tell_group(scene, group, generator, manner) for group in chosen)
    relation = ""
    if len(chosen) > 1 and generator.random() < manner.relation:
        shared: tuple[RelationName, ...] = shared_relations(scene, chosen[0], chosen[1])
        relation = pick_person_word(RELATION_WORDS[shared[0]], generator) if shared else ""
    tells_place = generator.random() < manner.place
    place = pick_person_word(PLACES[scene.background], generator) if tells_place else ""
    return Told(groups=told, relation=relation, place=place)


def _tell_group(scene: Scene, group: Group, generator: np.random.Generator, manner: _Manner) -> ToldGroup:
    thing = scene.things[group[0]]
    by_species = generator.random() < manner.species
    noun = pick_person_word(NOUNS[thing.kind], generator)
    if by_species:
        noun = f"{thing.species} {noun}" if generator.random() < manner.kind else thing.species
    colour = pick_person_word(COLOUR_WORDS[thing.colour], generator)
    size = pick_person_word(SIZE_WORDS[thing.size], generator)
    tells_colour, tells_size = generator.random() < manner.colour, generator.random() < manner.size
    return ToldGroup(noun=noun, colour=colour * tells_colour, size=size * tells_size, many=len(group))


def _human_text(told: Told, generator: np.random.Generator) -> str:
    phrases = [group.with_article for group in told.groups]
    if told.relation:
        text = pick(_HUMAN_RELATED, generator).format(
            a=phrases[0], b=joined(phrases[1:]), relation=told.relation, place=told.place
        )
    else:
        text = pick(_HUMAN_LISTED, generator).format(things=joined(phrases), place=told.place)
    if not told.place:
        text = text.replace(", taken", "").replace(" when we were", "").replace("shot :", "shot:")
    return capitalised(" ".join(text.split()))


def _human(scene: Scene, generator: np.random.Generator, rates: AltTextRates) -> AltText:
    told = _tell(scene, generator, _HUMAN)
    return AltText(_human_text(told, generator), "human", told)


def _named(scene: Scene, generator: np.random.Generator, rates: AltTextRates, kind: AltType) -> AltText:
    manner = _Manner(
        species=1.0 if kind == "species" else 0.0,
        kind=0.4,
        colour=rates.colour_share,
        size=0.05,
        relation=0.0,
        place=rates.place_share,
        num_things=_NUM_NAMED,
    )
    told = _tell(scene, generator, manner)
    parts = [joined([group.phrase for group in told.groups]), told.place]
    if generator.random() < rates.furniture_share:
        parts.append(pick(SUFFIXES, generator))
        parts = [pick(PREFIXES, generator), *parts] if generator.random() < PREFIX_SHARE else parts
    return AltText(" ".join(part for part in parts if part), kind, told)


def _species(scene: Scene, generator: np.random.Generator, rates: AltTextRates) -> AltText:
    return _named(scene, generator, rates, "species")


def _partial(scene: Scene, generator: np.random.Generator, rates: AltTextRates) -> AltText:
    return _named(scene, generator, rates, "partial")


def _filename(scene: Scene, generator: np.random.Generator, rates: AltTextRates) -> AltText:
    number = int(generator.integers(1000, 9999))
    return AltText(pick(FILE_NAMES, generator).format(number=number), "filename")


def _spam(scene: Scene, generator: np.random.Generator, rates: AltTextRates) -> AltText:
    return AltText(pick(SPAM, generator), "spam")


def _foreign(scene: Scene, generator: np.random.Generator, rates: AltTextRates) -> AltText:
    german, spanish = FOREIGN_NOUNS[pick(scene.things, generator).kind]
    if generator.random() < 0.5:
        return AltText(pick(FOREIGN_GERMAN, generator).format(noun=german), "foreign")
    return AltText(pick(FOREIGN_SPANISH, generator).format(noun=spanish), "foreign")


def _empty(scene: Scene, generator: np.random.Generator, rates: AltTextRates) -> AltText:
    return AltText(pick(EMPTY, generator), "empty")


_WRITERS = {
    "human": _human,
    "species": _species,
    "partial": _partial,
    "filename": _filename,
    "spam": _spam,
    "foreign": _foreign,
    "empty": _empty,
}
