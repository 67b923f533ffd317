"""Cut a caption into sentences of phrases: noun phrases, relations, places, counts. Knows words, not sentence forms."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Literal

from miniweb.catalogue import SPECIES_BY_NAME
from miniweb.lexicon import COLOUR_WORDS, FOREIGN_NOUNS, NOUNS, NUMBERS, PLACE_WORDS, SIZE_WORDS, plural

PhraseType = Literal["noun", "pronoun", "adjective", "relation", "place", "total", "comma", "and", "called", "unknown"]

_SENTENCE_END = re.compile(r"[.!?|]+(?:\s|$)|\n|\s-\s")
_TOKEN = re.compile(r"[^\W\d_]+|[,;:]")

_RELATIONS = {
    "left of": "left of",
    "left side of": "left of",
    "right of": "right of",
    "right side of": "right of",
    "above": "above",
    "over": "above",
    "on top of": "above",
    "below": "below",
    "under": "below",
    "beneath": "below",
}
_ARTICLES = ("a", "an", "another")
_POINTERS = ("that", "those", "this", "these")
"""May also stand alone, unlike `the`."""
_GENERIC = ("object", "objects", "thing", "things")
_EMPTY_NOUNS = frozenset(
    {"image", "picture", "photo", "scene", "background", "day", "eye", "attention", "page", "text", "whole", "quiet"}
)
"""What may follow an article or a pointer without claiming anything."""


@dataclass(frozen=True)
class Phrase:
    """A phrase and what it means: `value` of a relation or place; kind, adjectives, number of a noun phrase."""

    type: PhraseType
    value: str = ""
    colours: tuple[str, ...] = ()
    sizes: tuple[str, ...] = ()
    species: str = ""
    many: int = 1
    is_plural: bool | None = False
    """None where the noun does not tell (`fish`)."""
    points_back: bool = False
    """Begins with `the` or `that`: means something mentioned before, if there is one."""


@dataclass(frozen=True)
class _Word:
    role: str
    value: str = ""
    is_plural: bool | None = False


@dataclass
class _NounPhrase:
    """A noun phrase being read."""

    article: str = ""
    number: int = 0
    colours: list[str] = field(default_factory=list)
    sizes: list[str] = field(default_factory=list)
    kind: str = ""
    species: str = ""
    is_plural: bool | None = False

    def finished(self) -> Phrase:
        adjectives = {"colours": tuple(self.colours), "sizes": tuple(self.sizes)}
        kind = self.kind or SPECIES_BY_NAME[self.species].kind
        return Phrase(
            "noun",
            kind,
            **adjectives,
            species=self.species,
            many=max(self.number, 1),
            is_plural=self.is_plural,
            points_back=self.article in ("the", "pointer"),
        )


def sentences(text: str) -> list[list[Phrase]]:
    """Return the phrases of each sentence; words that mean nothing to the lexicon leave no phrase."""
    pieces = (_TOKEN.findall(piece.lower()) for piece in _SENTENCE_END.split(text))
    return [list(_phrases(tokens)) for tokens in pieces if tokens]


@cache
def _lexicon() -> dict[str, _Word]:
    words = {word: _Word("comma") for word in ",;:"} | {"and": _Word("and")}
    words |= dict.fromkeys(("called", "named"), _Word("called"))
    words |= dict.fromkeys(("it", "they", "them"), _Word("pronoun"))
    words |= dict.fromkeys(_ARTICLES, _Word("article")) | {"the": _Word("the")}
    words |= dict.fromkeys(_POINTERS, _Word("pointer"))
    words |= dict.fromkeys(_GENERIC, _Word("generic")) | dict.fromkeys(_EMPTY_NOUNS, _Word("empty"))
    words |= {word: _Word("number", str(number)) for number, word in enumerate(NUMBERS) if number}
    for role, table in (
        ("colour", COLOUR_WORDS),
        ("size", SIZE_WORDS),
        ("place", PLACE_WORDS),
        ("kind", FOREIGN_NOUNS),
    ):
        words |= {word: _Word(role, value) for value, entries in table.items() for word in entries}
    for kind, nouns in NOUNS.items():
        words |= {plural(noun): _Word("kind", kind, True) for noun in nouns}
        words |= {noun: _Word("kind", kind, None if plural(noun) == noun else False) for noun in nouns}
    for name in SPECIES_BY_NAME:
        words |= {name: _Word("species", name), plural(name): _Word("species", name, True)}
    return words


@cache
def _relation_phrases() -> tuple[tuple[tuple[str, ...], str], ...]:
    return tuple((tuple(phrase.split()), name) for phrase, name in _RELATIONS.items())


_RELATION_STARTS = frozenset(phrase.split()[0] for phrase in _RELATIONS)


def _relation_at(tokens: list[str], start: int) -> tuple[str, int] | None:
    if start < len(tokens) and tokens[start] in _RELATION_STARTS:
        for phrase, name in _relation_phrases():
            if tuple(tokens[start : start + len(phrase)]) == phrase:
                return name, len(phrase)
    return None


def _phrases(tokens: list[str]) -> Iterator[Phrase]:
    lexicon = _lexicon()
    position = 0
    while position < len(tokens):
        relation = _relation_at(tokens, position)
        if relation:
            yield Phrase("relation", relation[0])
            position += relation[1]
            continue
        word = lexicon.get(tokens[position])
        if word is None or word.role in ("empty", "generic"):
            position += 1
        elif word.role in ("comma", "and", "called", "pronoun", "place"):
            yield Phrase(word.role, word.value)  # type: ignore[arg-type]
            position += 1
        else:
            phrase, position = _read_noun_phrase(tokens, position)
            if phrase:
                yield phrase


def _read_noun_phrase(tokens: list[str], position: int) -> tuple[Phrase | None, int]:
    """Read from an article, number, adjective or noun on; return the phrase, if any, and where it ends."""
    lexicon = _lexicon()
    reading = _NounPhrase()
    while position < len(tokens):
        word = lexicon.get(tokens[position])
        if word is None or not _takes(reading, word):
            break
        position += 1
    if reading.kind or reading.species:
        return reading.finished(), position
    word = lexicon.get(tokens[position]) if position < len(tokens) else None
    if reading.number and word and word.role == "generic":
        return Phrase("total", str(reading.number)), position + 1
    if reading.colours or reading.sizes:
        phrase = Phrase("adjective", colours=tuple(reading.colours), sizes=tuple(reading.sizes))
        return (Phrase("unknown") if reading.article or reading.number else phrase), position
    if reading.article == "pointer" or word is not None or _relation_at(tokens, position):
        return None, position
    return Phrase("unknown"), position


def _takes(reading: _NounPhrase, word: _Word) -> bool:
    """Add a word to the phrase; False if the phrase is over before it."""
    has_noun = bool(reading.kind or reading.species)
    if word.role in ("article", "the", "pointer") and not reading.article and not has_noun and not reading.number:
        reading.article = word.role
    elif word.role == "number" and not reading.number and not has_noun:
        reading.number = int(word.value)
    elif word.role == "colour" and not has_noun:
        reading.colours.append(word.value)
    elif word.role == "size" and not has_noun:
        reading.sizes.append(word.value)
    elif word.role == "species" and not reading.species:
        reading.species, reading.is_plural = word.value, word.is_plural
    elif word.role == "kind" and not reading.kind:
        reading.kind, reading.is_plural = word.value, word.is_plural
    else:
        return False
    return True
