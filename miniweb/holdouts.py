"""Combinations kept out of every split but one, to see who can recombine what it knows.

They are the same for every seed, so that no two builds contradict each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from miniweb.catalogue import COLOURS, KINDS
from miniweb.scene import Scene, relations
from runtime.seeds import numpy_generator

NUM_KIND_COLOURS = 12
NUM_RELATIONS = 12

KindColour = tuple[str, str]
KindRelation = tuple[str, str, str]


@dataclass(frozen=True)
class HeldOut:
    """Kinds in colours, and pairs of kinds in relations ("left of" and "above"; their inverses are held out too)."""

    kind_colours: tuple[KindColour, ...]
    kind_relations: tuple[KindRelation, ...]


@lru_cache(maxsize=1)
def held_out() -> HeldOut:
    """Return the combinations: each kind occurs at most once in either list, so that all stay common."""
    generator = numpy_generator("held out combinations")
    kinds, more_kinds = generator.permutation(KINDS), generator.permutation(KINDS)
    colours = [tuple(COLOURS)[index % len(COLOURS)] for index in generator.permutation(NUM_KIND_COLOURS)]
    return HeldOut(
        tuple((str(kind), colour) for kind, colour in zip(kinds[:NUM_KIND_COLOURS], colours, strict=True)),
        tuple(
            (str(more_kinds[2 * i]), "left of" if i % 2 else "above", str(more_kinds[2 * i + 1]))
            for i in range(NUM_RELATIONS)
        ),
    )


def combinations_of(scene: Scene) -> tuple[KindColour | KindRelation, ...]:
    """Return the held-out combinations that a scene shows."""
    kept = held_out()
    shown: set[KindColour | KindRelation] = {(thing.kind, thing.colour) for thing in scene.things}
    if len(scene.things) > 1:
        shown |= {(scene.things[r.subject].kind, r.name, scene.things[r.other].kind) for r in relations(scene)}
    return tuple(entry for entry in (*kept.kind_colours, *kept.kind_relations) if entry in shown)


def pick_combination(generator: np.random.Generator) -> KindColour | KindRelation:
    """Return a held-out combination, of either sort half of the time."""
    entries: Sequence[KindColour | KindRelation] = (
        held_out().kind_colours if generator.random() < 0.5 else held_out().kind_relations
    )
    return entries[int(generator.integers(len(entries)))]
