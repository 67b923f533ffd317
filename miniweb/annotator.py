"""The voice of people who caption pictures for a test: their own words, order and omissions.

Shares words with the good part of alt-text, as people's captions share words with the web; sentence forms with nobody.
"""

from dataclasses import dataclass

import numpy as np

from miniweb.catalogue import SPECIES_BY_NAME
from miniweb.lexicon import (
    COLOUR_WORDS,
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
from miniweb.pointing import Group, by_salience, groups, shared_relations
from miniweb.scene import Scene
from runtime.errors import UserError

COLOUR_TOLD_SHARE = 0.85
SIZE_TOLD_SHARE = 0.3
PLACE_TOLD_SHARE = 0.8
RELATION_TOLD_SHARE = 0.7
SPECIES_TOLD_SHARE = 0.1
NUM_TOLD_SHARES = (0.2, 0.6, 0.2)
"""In a short caption: of telling one, two and three groups of things, where there are as many."""

_ONE = ("{a} {place}.", "There's {a} {place}.", "{a} seen {place}.")
_ONE_NO_PLACE = ("{a}.", "Somebody captured {a}.")
_RELATED = ("{a} {relation} {b} {place}.", "{place}, {a} {relation} {b}.", "{a} shown {relation} {b} {place}.")
_LISTED = ("{things} {place}.", "{place} we find {things}.", "{things} out {place}.")
_SWAP = ("{a} {relation} {b}.", "{a} and {b} {place}.", "{place}, {a} next to {b}.", "{a} sitting {relation} {b}.")


@dataclass(frozen=True)
class _Words:
    """The words one person has for one group of things throughout a caption."""

    noun: str
    colour: str
    size: str
    species: str
    many: int

    def phrase(self, *, colour: bool, size: bool, species: bool = False) -> str:
        told = [self.size] * size + [self.colour] * colour + [self.species] * species
        noun = plural(self.noun) if self.many > 1 else self.noun
        words = " ".join([*told, noun])
        return f"{NUMBERS[self.many]} {words}" if self.many > 1 else with_article(words)

    @property
    def pointed(self) -> str:
        """Return `that home` or `those homes`."""
        return f"those {plural(self.noun)}" if self.many > 1 else f"that {self.noun}"

    @property
    def size_sentence(self) -> str:
        """Return `It looks rather small.`, said of what was introduced last."""
        return f"They look rather {self.size}." if self.many > 1 else f"It looks rather {self.size}."


def caption(scene: Scene, generator: np.random.Generator) -> str:
    """Caption a scene in about ten words: the salient things, rarely all of them and rarely all about them."""
    told = by_salience(scene)[: 1 + int(np.searchsorted(np.cumsum(NUM_TOLD_SHARES), generator.random()))]
    phrases = [_told_phrase(_words(scene, group, generator), scene, group, generator) for group in told]
    place = pick_person_word(PLACES[scene.background], generator)
    if generator.random() >= PLACE_TOLD_SHARE:
        place = ""
    if len(told) == 1:
        return _filled(pick(_ONE if place else _ONE_NO_PLACE, generator), a=phrases[0], place=place)
    relation = _told_relation(scene, told[0], told[1], generator)
    if len(told) == 2 and relation and generator.random() < RELATION_TOLD_SHARE:
        return _filled(pick(_RELATED, generator), a=phrases[0], relation=relation, b=phrases[1], place=place)
    return _filled(pick(_LISTED, generator), things=joined(phrases), place=place or "here")


def describe(scene: Scene, generator: np.random.Generator) -> str:
    """Describe a scene at length, from the most salient thing to the least, then its surroundings."""
    order = by_salience(scene)
    words = [_words(scene, group, generator) for group in order]
    place = pick_person_word(PLACES[scene.background], generator)
    sentences = [_first_sentence(words[0], scene, order[0], generator)]
    for position in range(1, len(order)):
        sentences += _next_sentences(scene, order, words, position, generator)
    surroundings = f"Everything happens {place}, on a quiet day with soft colours all around."
    count = f"All in all you can count {NUMBERS[len(scene.things)]} thing{'s' * (len(scene.things) > 1)}."
    ending = [surroundings, count] if generator.random() < 0.5 else [count, surroundings]
    return " ".join(sentences + ending)


def swappable(scene: Scene) -> list[tuple[Group, Group]]:
    """Return the pairs of lone things whose colours can be exchanged to make a true caption false."""
    lone = [group for group in groups(scene) if len(group) == 1]
    return [
        (first, second)
        for first in lone
        for second in lone
        if first != second and _makes_false(scene, first[0], second[0])
    ]


def swap_pair(scene: Scene, generator: np.random.Generator) -> tuple[str, str]:
    """Return a true caption and the false one that exchanges the colours of two things: the same bag of words.

    Colours are independent of kinds, so that to a reader without the picture both are equally likely. Raises UserError
    for a scene without such things (see `swappable`).
    """
    pairs = swappable(scene)
    if not pairs:
        raise UserError(
            "scene for a colour swap", found=scene.to_json(), wanted="two lone things of unlike kind and colour"
        )
    first, second = pick(pairs, generator)
    words = [_words(scene, group, generator) for group in (first, second)]
    relation = _told_relation(scene, first, second, generator)
    template = pick(_SWAP if relation else _SWAP[1:3], generator)
    place = pick_person_word(PLACES[scene.background], generator)
    colours = words[0].colour, words[1].colour

    def worded(one: str, two: str) -> str:
        a, b = with_article(f"{one} {words[0].noun}"), with_article(f"{two} {words[1].noun}")
        return _filled(template, a=a, b=b, relation=relation or "", place=place)

    return worded(*colours), worded(*reversed(colours))


def _makes_false(scene: Scene, first: int, second: int) -> bool:
    one, two = scene.things[first], scene.things[second]
    if one.colour == two.colour or one.kind == two.kind:
        return False
    looks = {(thing.kind, thing.colour) for thing in scene.things}
    return (one.kind, two.colour) not in looks and (two.kind, one.colour) not in looks


def _words(scene: Scene, group: Group, generator: np.random.Generator) -> _Words:
    thing = scene.things[group[0]]
    return _Words(
        noun=pick_person_word(NOUNS[thing.kind], generator),
        colour=pick_person_word(COLOUR_WORDS[thing.colour], generator),
        size=pick_person_word(SIZE_WORDS[thing.size], generator),
        species=thing.species,
        many=len(group),
    )


def _told_phrase(words: _Words, scene: Scene, group: Group, generator: np.random.Generator) -> str:
    """Return a noun phrase with what this person cares to tell; people know the commoner species."""
    known = SPECIES_BY_NAME[scene.things[group[0]].species].known_to_captioner
    return words.phrase(
        colour=generator.random() < COLOUR_TOLD_SHARE,
        size=generator.random() < SIZE_TOLD_SHARE,
        species=generator.random() < SPECIES_TOLD_SHARE and known,
    )


def _told_relation(scene: Scene, subject: Group, other: Group, generator: np.random.Generator) -> str | None:
    shared = shared_relations(scene, subject, other)
    return pick_person_word(RELATION_WORDS[shared[0]], generator) if shared else None


def _first_sentence(words: _Words, scene: Scene, group: Group, generator: np.random.Generator) -> str:
    known = SPECIES_BY_NAME[scene.things[group[0]].species].known_to_captioner
    species = known and generator.random() < SPECIES_TOLD_SHARE
    if generator.random() < 0.5:
        return f"What catches your eye first: {words.phrase(colour=True, size=True, species=species)}."
    start = f"Most of our attention goes to {words.phrase(colour=True, size=False, species=species)}."
    return f"{start} {words.size_sentence}"


def _next_sentences(
    scene: Scene, order: list[Group], words: list[_Words], position: int, generator: np.random.Generator
) -> list[str]:
    """Return the sentences on one more group: tied to each earlier group that it is related to."""
    phrase = words[position].phrase(colour=True, size=False)
    tied = [
        (relation, words[earlier].pointed)
        for earlier in range(position)
        if (relation := _told_relation(scene, order[position], order[earlier], generator))
    ]
    if not tied:
        return [f"You also come across {phrase} somewhere near.", words[position].size_sentence]
    (relation, pointed), *more = tied
    verb = "sit" if words[position].many > 1 else "sits"
    forms = (f"{phrase} {verb} {relation} {pointed}.", f"Look {relation} {pointed} and you discover {phrase}.")
    return [
        capitalised(pick(forms, generator)),
        words[position].size_sentence,
        *(
            capitalised(f"{words[position].pointed} can also be seen {relation} {pointed}.")
            for relation, pointed in more
        ),
    ]


def _filled(template: str, **parts: str) -> str:
    """Fill a template and tidy the spaces and stops that an empty part leaves."""
    text = " ".join(template.format(**parts).replace(" .", ".").split())
    return capitalised(text.lstrip(", ").replace(" .", "."))
