"""The truth of a picture: a scene graph of a background and one to four things."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from runtime.errors import UserError

Size = Literal["small", "large"]
RelationName = Literal["left of", "right of", "above", "below"]

MAX_THINGS = 4
RELATION_GAP = 0.2
"""Centres at least this far apart along an axis are related along it; nearer ones are level.

The world's layouts leave no centre distance near this value, so that a relation is never a matter of opinion.
"""


@dataclass(frozen=True)
class Thing:
    """One object: what it is, how it looks, and where it stands.

    `x` and `y` are the centre in the picture's central square, (0, 0) top left, (1, 1) bottom right; `scale` is the
    side of the thing's box as a share of that square's side.
    """

    kind: str
    species: str
    colour: str
    size: Size
    x: float
    y: float
    scale: float


@dataclass(frozen=True)
class Scene:
    """A background and its things, in reading order (top row first, left to right within a row)."""

    background: str
    things: tuple[Thing, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.things) <= MAX_THINGS:
            raise UserError("number of things in a scene", found=len(self.things), wanted=f"1 to {MAX_THINGS}")

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types that `from_json` reads back to an equal scene."""
        return {"background": self.background, "things": [asdict(thing) for thing in self.things]}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "Scene":
        """Build a scene from `to_json`'s record; raises UserError naming what is wrong with it."""
        try:
            things = tuple(Thing(**thing) for thing in record["things"])
            return cls(background=record["background"], things=things)
        except (KeyError, TypeError) as error:
            fields = "background and things, each with kind, species, colour, size, x, y, scale"
            raise UserError("scene record", found=str(error), wanted=fields) from error


@dataclass(frozen=True)
class Relation:
    """Thing number `subject` stands in relation `name` to thing number `other`."""

    subject: int
    name: RelationName
    other: int


def relations(scene: Scene) -> tuple[Relation, ...]:
    """Return every true relation between ordered pairs of things.

    A diagonal pair has two relations in each direction (left of and above, say); both are true.
    """
    found: list[Relation] = []
    for i, first in enumerate(scene.things):
        for j, second in enumerate(scene.things):
            if second.x - first.x >= RELATION_GAP:
                found += [Relation(i, "left of", j), Relation(j, "right of", i)]
            if second.y - first.y >= RELATION_GAP:
                found += [Relation(i, "above", j), Relation(j, "below", i)]
    return tuple(found)


def signature(scene: Scene) -> str:
    """Return what a person would call the same picture, positions to a quarter of the square.

    Two scenes with one signature differ in jitter alone. Splits are kept disjoint by signature.
    """
    things = sorted(
        f"{thing.species}/{thing.colour}/{thing.size}/{round(thing.x * 4)},{round(thing.y * 4)}"
        for thing in scene.things
    )
    return f"{scene.background}: {' '.join(things)}"
