"""What a text beside a picture calls things, and what of that the picture bears out: the graph decides."""

import re
from collections.abc import Mapping

from miniweb.catalogue import SPECIES_BY_NAME
from miniweb.lexicon import NOUNS, plural
from miniweb.scene import Scene

_WORD = re.compile(r"[^\W\d_]+")
_NAMES: Mapping[str, str] = {form: name for name in SPECIES_BY_NAME for form in (name, plural(name))}
_NOUNS: Mapping[str, tuple[str, str]] = {
    form: (kind, noun) for kind, nouns in NOUNS.items() for noun in nouns for form in (noun, plural(noun))
}


def names_in(text: str) -> tuple[str, ...]:
    """Return the species that a text names, each once, in its order."""
    return tuple(dict.fromkeys(_NAMES[word] for word in _words(text) if word in _NAMES))


def nouns_in(text: str) -> dict[str, str]:
    """Return the noun that a text has for each kind of thing it speaks of: its first one."""
    found: dict[str, str] = {}
    for word in _words(text):
        if word in _NOUNS:
            found.setdefault(*_NOUNS[word])
    return found


def true_names(text: str, scene: Scene) -> tuple[str, ...]:
    """Return the species that a text names and a scene has."""
    there = {thing.species for thing in scene.things}
    return tuple(name for name in names_in(text) if name in there)


def false_names(text: str, scene: Scene) -> tuple[str, ...]:
    """Return the species that a text names and a scene has not."""
    true = true_names(text, scene)
    return tuple(name for name in names_in(text) if name not in true)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())
