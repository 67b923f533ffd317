"""The captioner's training voice: everything in reading order, in plain words and few sentence forms.

What a small captioner has to learn is what is there, so each form is rigid: count and place; then one sentence per
group of things, tied to an earlier one by a relation; then the remaining relations; then the background.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np

from miniweb.catalogue import SPECIES_BY_NAME
from miniweb.lexicon import NOUNS, NUMBERS, PLACES, capitalised, pick, plural, with_article
from miniweb.pointing import Group, distinguishing, groups, shared_relations
from miniweb.scene import RelationName, Scene

OPENINGS = ("The image shows {count} {place}.", "This is a picture of {count} {place}.")
CLOSINGS = (
    "The background is {background} that fills the whole image, and the scene is calm and bright with nothing else.",
    "The background is {background} and there is nothing else in the image, which makes it look simple and clear.",
)
RELATION_PHRASES: dict[RelationName, str] = {
    "left of": "to the left of",
    "right of": "to the right of",
    "above": "above",
    "below": "below",
}
BACKGROUND_PHRASES = {
    "meadow": "a meadow",
    "beach": "a beach",
    "snow": "snow",
    "street": "a street",
    "room": "a room",
    "sky": "the sky",
}

KNOWN_NAMES = frozenset(name for name, species in SPECIES_BY_NAME.items() if species.known_to_captioner)
"""Names that a description tells without having read them anywhere."""


@dataclass(frozen=True, kw_only=True)
class Wording:
    """What things may be called."""

    names: Collection[str] = KNOWN_NAMES
    """Species that are named."""
    nouns: Mapping[str, str] = field(default_factory=dict)
    """Nouns other than the plain one, by kind."""

    def noun(self, kind: str) -> str:
        """Return what a thing of a kind is called."""
        return self.nouns.get(kind, NOUNS[kind][0])


PLAIN = Wording()
ALL_NAMES = Wording(names=frozenset(SPECIES_BY_NAME))

SHORT_SPECIES_SHARE = 0.5
"""Share of short captions that name species: told in long descriptions alone, their names stay guesswork."""


def describe(scene: Scene, generator: np.random.Generator, wording: Wording = PLAIN) -> str:
    """Describe a scene truly and fully; species only where `known_to_captioner`, unless told otherwise."""
    opening = pick(OPENINGS, generator).format(count=count_phrase(len(scene.things)), place=PLACES[scene.background][0])
    closing = pick(CLOSINGS, generator).format(background=BACKGROUND_PHRASES[scene.background])
    return " ".join([opening, *_introductions(scene, wording), *_more_relations(scene, wording), closing])


def short(scene: Scene, generator: np.random.Generator) -> str:
    """Name a scene's things and place in one plain sentence, at times with known species, never with relations."""
    with_species = generator.random() < SHORT_SPECIES_SHARE
    wording = PLAIN if with_species else Wording(names=())
    phrases = [noun_phrase(scene, group, wording) for group in groups(scene)]
    return capitalised(f"{' and '.join(phrases)} {PLACES[scene.background][0]}.")


def count_phrase(num_things: int) -> str:
    """Return `one object`, `two objects` and so on."""
    return f"{NUMBERS[num_things]} object{'s' if num_things > 1 else ''}"


def noun_phrase(scene: Scene, group: Group, wording: Wording) -> str:
    """Return `a large red house called a velmont`, or `two large red houses called velmonts`."""
    thing = scene.things[group[0]]
    noun = wording.noun(thing.kind)
    many = len(group) > 1
    adjectives = f"{thing.size} {thing.colour}"
    phrase = f"{NUMBERS[len(group)]} {adjectives} {plural(noun)}" if many else with_article(f"{adjectives} {noun}")
    if thing.species not in wording.names:
        return phrase
    return f"{phrase} called {plural(thing.species) if many else with_article(thing.species)}"


def reference(scene: Scene, group: Group, wording: Wording = PLAIN) -> str | None:
    """Return `the house`, or `the red house` where there are others; None if words can't single it out."""
    way = distinguishing(scene, group)
    if way is None:
        return None
    thing = scene.things[group[0]]
    noun = wording.noun(thing.kind)
    adjectives = [getattr(thing, name) for name in reversed(way)]
    return " ".join(["the", *adjectives, plural(noun) if len(group) > 1 else noun])


def relation_phrase(scene: Scene, subject: Group, other: Group, wording: Wording = PLAIN) -> str | None:
    """Return `above the house` for the clearest relation of subject to other; None if there is none to state."""
    shared = shared_relations(scene, subject, other)
    name = reference(scene, other, wording)
    return f"{RELATION_PHRASES[shared[0]]} {name}" if shared and name else None


def _anchors(scene: Scene, group: Group, earlier: list[Group]) -> list[Group]:
    """Return the earlier groups that `group` can be tied to: those in line with it first, then diagonal ones."""
    related = [other for other in reversed(earlier) if relation_phrase(scene, group, other)]
    return sorted(related, key=lambda other: len(shared_relations(scene, group, other)))


def _introductions(scene: Scene, wording: Wording) -> list[str]:
    sentences: list[str] = []
    earlier: list[Group] = []
    for group in groups(scene):
        phrase = noun_phrase(scene, group, wording)
        there = "there are" if len(group) > 1 else "there is"
        anchors = _anchors(scene, group, earlier)
        start = f"{relation_phrase(scene, group, anchors[0], wording)} {there}" if anchors else there
        sentences.append(capitalised(f"{start} {phrase}."))
        earlier.append(group)
    return sentences


def _more_relations(scene: Scene, wording: Wording) -> list[str]:
    """State how groups in line with each other lie, where the introductions left it out."""
    all_groups = list(groups(scene))
    sentences = []
    for i, group in enumerate(all_groups):
        subject, verb = reference(scene, group, wording), "are" if len(group) > 1 else "is"
        for other in _anchors(scene, group, all_groups[:i])[1:]:
            if subject and len(shared_relations(scene, group, other)) == 1:
                sentences.append(capitalised(f"{subject} {verb} {relation_phrase(scene, group, other, wording)}."))
    return sentences
