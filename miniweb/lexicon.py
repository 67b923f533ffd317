"""The words of every voice: what each kind, colour, size, place and relation may be called. Data and word choice only.

The first entry of each list is the plain word. The captioner's grammar uses plain words alone; people (the annotator
and the good part of alt-text) choose among all of a list, so that human captions share words across sources.
"""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

Choice = TypeVar("Choice")

PLAIN_WORD_SHARE = 0.5
"""How often a person uses the plain word where synonyms exist."""

NOUNS: Mapping[str, tuple[str, ...]] = {
    "house": ("house", "home", "cottage"),
    "tree": ("tree", "sapling", "evergreen"),
    "boat": ("boat", "ship", "vessel"),
    "bird": ("bird", "songbird"),
    "car": ("car", "automobile", "motorcar"),
    "fish": ("fish", "carp"),
    "flower": ("flower", "blossom", "bloom"),
    "cup": ("cup", "mug", "beaker"),
    "chair": ("chair", "seat"),
    "lamp": ("lamp", "lantern"),
    "umbrella": ("umbrella", "parasol"),
    "hat": ("hat", "bonnet", "cap"),
    "kite": ("kite", "glider"),
    "balloon": ("balloon", "blimp"),
    "cat": ("cat", "kitten", "kitty"),
    "butterfly": ("butterfly", "moth"),
    "mushroom": ("mushroom", "toadstool", "fungus"),
    "bus": ("bus", "coach"),
    "rocket": ("rocket", "spaceship"),
    "guitar": ("guitar", "lute"),
    "clock": ("clock", "timepiece"),
    "ball": ("ball", "sphere", "orb"),
    "tent": ("tent", "shelter"),
    "turtle": ("turtle", "tortoise"),
}
"""Kind -> its generic names."""

IRREGULAR_PLURALS: Mapping[str, str] = {
    "fish": "fish",
    "carp": "carp",
    "fungus": "fungi",
    "butterfly": "butterflies",
    "kitty": "kitties",
    "bus": "buses",
    "coach": "coaches",
}

COLOUR_WORDS: Mapping[str, tuple[str, ...]] = {
    "red": ("red", "crimson", "scarlet"),
    "orange": ("orange", "tangerine", "amber"),
    "yellow": ("yellow", "golden", "lemon"),
    "green": ("green", "emerald"),
    "blue": ("blue", "azure", "navy"),
    "purple": ("purple", "violet", "lilac"),
    "pink": ("pink", "rosy"),
    "black": ("black", "ebony", "charcoal"),
}

SIZE_WORDS: Mapping[str, tuple[str, ...]] = {"small": ("small", "little", "tiny"), "large": ("large", "big", "huge")}

PLACES: Mapping[str, tuple[str, ...]] = {
    "meadow": ("in a meadow", "in a field", "on the grass"),
    "beach": ("on a beach", "by the seaside", "on the sand"),
    "snow": ("in the snow", "in a wintry land", "on the ice"),
    "street": ("on a street", "by the road", "in town"),
    "room": ("in a room", "indoors", "in a parlour"),
    "sky": ("in the sky", "in the air", "among the clouds"),
}
"""Background -> places as people say them, preposition and all."""

PLACE_WORDS: Mapping[str, tuple[str, ...]] = {
    "meadow": ("meadow", "field", "grass"),
    "beach": ("beach", "seaside", "sand"),
    "snow": ("snow", "wintry", "ice"),
    "street": ("street", "road", "town"),
    "room": ("room", "indoors", "parlour"),
    "sky": ("sky", "air", "clouds"),
}
"""Background -> the words that give it away, one per phrase of PLACES."""

RELATION_WORDS: Mapping[str, tuple[str, ...]] = {
    "left of": ("left of", "on the left side of"),
    "right of": ("right of", "on the right side of"),
    "above": ("above", "over", "on top of"),
    "below": ("below", "under", "beneath"),
}
"""Relation -> how people say it (the grammar has its own way for left and right, so that no phrase is shared)."""

FOREIGN_NOUNS: Mapping[str, tuple[str, str]] = {
    "house": ("haus", "casa"),
    "tree": ("baum", "árbol"),
    "boat": ("boot", "barco"),
    "bird": ("vogel", "pájaro"),
    "car": ("wagen", "coche"),
    "fish": ("fisch", "pez"),
    "flower": ("blume", "flor"),
    "cup": ("tasse", "taza"),
    "chair": ("stuhl", "silla"),
    "lamp": ("leuchte", "lámpara"),
    "umbrella": ("regenschirm", "paraguas"),
    "hat": ("hut", "sombrero"),
    "kite": ("drachen", "cometa"),
    "balloon": ("luftballon", "globo"),
    "cat": ("katze", "gato"),
    "butterfly": ("schmetterling", "mariposa"),
    "mushroom": ("pilz", "seta"),
    "bus": ("reisebus", "autobús"),
    "rocket": ("rakete", "cohete"),
    "guitar": ("gitarre", "guitarra"),
    "clock": ("uhr", "reloj"),
    "ball": ("spielball", "pelota"),
    "tent": ("zelt", "carpa"),
    "turtle": ("schildkröte", "tortuga"),
}
"""Kind -> its German and its Spanish name."""

NUMBERS: tuple[str, ...] = ("zero", "one", "two", "three", "four", "five", "six")


def pick(options: Sequence[Choice], generator: np.random.Generator) -> Choice:
    """Return one of the options, all equally likely."""
    return options[int(generator.random() * len(options))]


def pick_person_word(words: Sequence[str], generator: np.random.Generator) -> str:
    """Return the plain word half of the time, else one of its synonyms, as people do."""
    if len(words) == 1 or generator.random() < PLAIN_WORD_SHARE:
        return words[0]
    return pick(words[1:], generator)


def plural(noun: str) -> str:
    """Return the plural of a noun of this lexicon (or of a species name)."""
    return IRREGULAR_PLURALS.get(noun, f"{noun}s")


def with_article(phrase: str) -> str:
    """Return the phrase after `a` or `an`."""
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def capitalised(sentence: str) -> str:
    """Return the sentence with its first letter in upper case."""
    return sentence[:1].upper() + sentence[1:]


def joined(phrases: Sequence[str]) -> str:
    """Return `x`, `x and y` or `x, y and z`."""
    if len(phrases) <= 1:
        return "".join(phrases)
    return f"{', '.join(phrases[:-1])} and {phrases[-1]}"
