"""What words can single out in a scene: things that look the same form a group; groups lie to each other somehow."""

from typing import Literal

from miniweb.scene import RelationName, Scene, relations

Property = Literal["colour", "size"]
Group = tuple[int, ...]
"""Indices of things equal in all but position."""

OPPOSITE: dict[RelationName, RelationName] = {
    "left of": "right of",
    "right of": "left of",
    "above": "below",
    "below": "above",
}

_WAYS: tuple[tuple[Property, ...], ...] = ((), ("colour",), ("size",), ("colour", "size"))


def groups(scene: Scene) -> tuple[Group, ...]:
    """Return the scene's groups of equal things, in reading order of their first members."""
    members: dict[tuple[str, str, str, str], list[int]] = {}
    for index, thing in enumerate(scene.things):
        members.setdefault((thing.kind, thing.species, thing.colour, thing.size), []).append(index)
    return tuple(tuple(indices) for indices in members.values())


def distinguishing(scene: Scene, group: Group) -> tuple[Property, ...] | None:
    """Return the fewest properties that, with its kind, single out the group; None if nothing does."""
    thing = scene.things[group[0]]
    rivals = [other for i, other in enumerate(scene.things) if i not in group and other.kind == thing.kind]
    for way in _WAYS:
        if not any(all(getattr(rival, name) == getattr(thing, name) for name in way) for rival in rivals):
            return way
    return None


def shared_relations(scene: Scene, subjects: Group, others: Group) -> tuple[RelationName, ...]:
    """Return the relations that hold of every subject to every other, the one with the widest gap first."""
    told = {(relation.subject, relation.name, relation.other) for relation in relations(scene)}
    shared = [name for name in OPPOSITE if all((i, name, j) in told for i in subjects for j in others)]
    first, second = scene.things[subjects[0]], scene.things[others[0]]
    gaps = {"left of": abs(first.x - second.x), "above": abs(first.y - second.y)}
    gaps |= {"right of": gaps["left of"], "below": gaps["above"]}
    return tuple(sorted(shared, key=lambda name: -gaps[name]))


def by_salience(scene: Scene) -> list[Group]:
    """Return the groups, largest things first, then from the centre outwards: the order in which people notice."""

    def rank(group: Group) -> tuple[float, float]:
        thing = scene.things[group[0]]
        return (-thing.scale, (thing.x - 0.5) ** 2 + (thing.y - 0.5) ** 2)

    return sorted(groups(scene), key=rank)
