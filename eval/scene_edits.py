"""Scenes that differ in one thing from a given one: what a judge must not accept in its place."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from miniweb.catalogue import BACKGROUNDS, COLOURS, KINDS, SPECIES
from miniweb.scene import MAX_THINGS, Scene, relations


def _other(names: tuple[str, ...], name: str, generator: np.random.Generator) -> str:
    rest = [each for each in names if each != name]
    return rest[int(generator.integers(len(rest)))]


def change_colour(scene: Scene, generator: np.random.Generator) -> Scene | None:
    """Give one thing another colour."""
    index = int(generator.integers(len(scene.things)))
    thing = scene.things[index]
    return _with_thing(scene, index, replace(thing, colour=_other(tuple(COLOURS), thing.colour, generator)))


def change_kind(scene: Scene, generator: np.random.Generator) -> Scene | None:
    """Replace one thing by one of another kind in the same place."""
    index = int(generator.integers(len(scene.things)))
    kind = _other(KINDS, scene.things[index].kind, generator)
    return _with_thing(scene, index, replace(scene.things[index], kind=kind, species=SPECIES[kind][0].name))


def change_species(scene: Scene, generator: np.random.Generator) -> Scene | None:
    """Replace one thing by another species of its kind."""
    index = int(generator.integers(len(scene.things)))
    thing = scene.things[index]
    names = tuple(species.name for species in SPECIES[thing.kind])
    return _with_thing(scene, index, replace(thing, species=_other(names, thing.species, generator)))


def change_size(scene: Scene, generator: np.random.Generator) -> Scene | None:
    """Make one thing the other size."""
    index = int(generator.integers(len(scene.things)))
    thing = scene.things[index]
    return _with_thing(scene, index, replace(thing, size="small" if thing.size == "large" else "large"))


def drop_thing(scene: Scene, generator: np.random.Generator) -> Scene | None:
    """Take one thing away, where more than one is there."""
    if len(scene.things) == 1:
        return None
    index = int(generator.integers(len(scene.things)))
    return replace(scene, things=tuple(thing for number, thing in enumerate(scene.things) if number != index))


def add_thing(scene: Scene, generator: np.random.Generator) -> Scene | None:
    """Add a thing of a kind that is not there, where there is room for one more."""
    if len(scene.things) == MAX_THINGS:
        return None
    present = {thing.kind for thing in scene.things}
    absent = [kind for kind in KINDS if kind not in present]
    kind = absent[int(generator.integers(len(absent)))]
    x, y = 1.0 - scene.things[-1].x, 1.0 - scene.things[-1].y
    added = replace(scene.things[-1], kind=kind, species=SPECIES[kind][0].name, x=x, y=y)
    return replace(scene, things=(*scene.things, added))


def exchange_places(scene: Scene, generator: np.random.Generator) -> Scene | None:
    """Let two related things change places, which turns their relation round."""
    related = relations(scene)
    if not related:
        return None
    pair = related[int(generator.integers(len(related)))]
    things = list(scene.things)
    first, second = things[pair.subject], things[pair.other]
    things[pair.subject] = replace(first, x=second.x, y=second.y)
    things[pair.other] = replace(second, x=first.x, y=first.y)
    return replace(scene, things=tuple(things))


def change_background(scene: Scene, generator: np.random.Generator) -> Scene | None:
    """Put the scene elsewhere."""
    return replace(scene, background=_other(BACKGROUNDS, scene.background, generator))


EDITS: Mapping[str, Callable[[Scene, np.random.Generator], Scene | None]] = {
    "colour": change_colour,
    "kind": change_kind,
    "species": change_species,
    "size": change_size,
    "fewer": drop_thing,
    "more": add_thing,
    "places": exchange_places,
    "background": change_background,
}
"""Single edits by name; an edit returns None where the scene does not admit it."""


def _with_thing(scene: Scene, index: int, thing: object) -> Scene:
    things = list(scene.things)
    things[index] = thing  # type: ignore[call-overload]
    return replace(scene, things=tuple(things))
