"""The voice of the foundation's captions: a museum's card index that uses every word of the lexicon, species included.

Short and dense cards are mixed. The foundation gives the captioner its eyes and the image generators their ears, so it
must know all words; it is the same for all arms of every comparison.
"""

import numpy as np

from miniweb.lexicon import (
    COLOUR_WORDS,
    NOUNS,
    NUMBERS,
    PLACE_WORDS,
    RELATION_WORDS,
    SIZE_WORDS,
    capitalised,
    pick,
    plural,
)
from miniweb.pointing import Group, groups, shared_relations
from miniweb.scene import Scene

DENSE_SHARE = 0.6
SPECIES_TOLD_SHARE = 0.6


def caption(scene: Scene, generator: np.random.Generator) -> str:
    """Write a card for a scene: one thing of it, or all of it."""
    return dense(scene, generator) if generator.random() < DENSE_SHARE else short(scene, generator)


def short(scene: Scene, generator: np.random.Generator) -> str:
    """Write a card of one group of things: `Exhibit: crimson velmont house`, at times with its setting."""
    phrase = _phrase(scene, pick(groups(scene), generator), generator)
    setting = f", setting: {pick(PLACE_WORDS[scene.background], generator)}" if generator.random() < 0.5 else ""
    return f"Exhibit: {phrase}{setting}."


def dense(scene: Scene, generator: np.random.Generator) -> str:
    """Write a card of everything: each group once, tied to the one before it, then the setting."""
    entries: list[str] = []
    before: Group | None = None
    for group in groups(scene):
        phrase = _phrase(scene, group, generator)
        shared = shared_relations(scene, group, before) if before else ()
        if before and shared:
            phrase += f" {pick(RELATION_WORDS[shared[0]], generator)} the {_noun(scene, before)}"
        entries.append(phrase)
        before = group
    setting = pick(PLACE_WORDS[scene.background], generator)
    return f"{capitalised('; '.join(entries))}; setting: {setting}."


def _phrase(scene: Scene, group: Group, generator: np.random.Generator) -> str:
    thing = scene.things[group[0]]
    colour, size = pick(COLOUR_WORDS[thing.colour], generator), pick(SIZE_WORDS[thing.size], generator)
    words = [size] * (generator.random() < 0.6) + [colour] * (generator.random() < 0.9)
    noun = pick(NOUNS[thing.kind], generator)
    if generator.random() < SPECIES_TOLD_SHARE:
        words.append(thing.species)
    words.append(plural(noun) if len(group) > 1 else noun)
    return " ".join([NUMBERS[len(group)]] * (len(group) > 1) + words)


def _noun(scene: Scene, group: Group) -> str:
    noun = NOUNS[scene.things[group[0]].kind][0]
    return plural(noun) if len(group) > 1 else noun
