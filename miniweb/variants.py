"""The web's order of pictures: single ones, and product variants side by side."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import factorial, prod

import numpy as np

from miniweb.catalogue import COLOURS
from miniweb.config import MiniwebConfig
from miniweb.scene import Scene, Thing
from miniweb.splits import SPLITS, belongs, draw_scene
from miniweb.world import DOMAINS, cell_middles, place_again
from runtime.seeds import numpy_generator

_GROUP_SIZES = (2, 3, 4)
_MEAN_GROUP_SIZE = 2.6
"""Measured: two things in two colours have but two variants."""
_MAX_ATTEMPTS = 200
_GROUP_DOMAIN = replace(DOMAINS["web"], num_things_shares=(0.25, 0.40, 0.22, 0.13))
"""Variants mostly show several things: it is who wears which colour that tells them apart."""


@dataclass(frozen=True)
class WebScene:
    """A scene of the web, and the number of its product group within its shard (None for a picture of its own)."""

    scene: Scene
    group: int | None


def web_scenes(config: MiniwebConfig, shard_index: int) -> Iterator[WebScene]:
    """Yield a shard's scenes without end, product groups in one piece."""
    share = config.web.variant_share
    group_rate = share / _MEAN_GROUP_SIZE / (share / _MEAN_GROUP_SIZE + 1 - share)
    position = 0
    while True:
        generator = numpy_generator(config.seed, "web", shard_index, position)
        if generator.random() < group_rate:
            scenes = product_group(config, generator)
            for scene in scenes:
                yield WebScene(scene, position if len(scenes) > 1 else None)
        else:
            yield WebScene(draw_scene(config, SPLITS["web"], generator), None)
        position += 1


def product_group(config: MiniwebConfig, generator: np.random.Generator) -> list[Scene]:
    """Return two to four scenes with the same place and things, colours permuted (a lone thing: other colours).

    Now and then it stays at one scene, where all permutations belong to other splits.
    """
    first = draw_scene(config, SPLITS["web"], generator, _GROUP_DOMAIN)
    wanted = min(_GROUP_SIZES[int(generator.integers(len(_GROUP_SIZES)))], _num_looks(first))
    scenes = [first]
    looks = {_look(first)}
    for _ in range(_MAX_ATTEMPTS):
        if len(scenes) == wanted:
            break
        scene = _variant(config, first, generator)
        if _look(scene) not in looks and belongs(scene, SPLITS["web"]):
            scenes.append(scene)
            looks.add(_look(scene))
    return scenes


def _num_looks(scene: Scene) -> int:
    """Return in how many ways the scene's colours can be shared out among its species."""
    colours = list({thing.species: thing.colour for thing in scene.things}.values())
    if len(set(colours)) == 1:
        return len(COLOURS) - len(colours) + 1
    return factorial(len(colours)) // prod(factorial(colours.count(colour)) for colour in set(colours))


def _look(scene: Scene) -> tuple[str, ...]:
    return tuple(sorted(f"{thing.kind}/{thing.colour}" for thing in scene.things))


def _variant(config: MiniwebConfig, scene: Scene, generator: np.random.Generator) -> Scene:
    """Permute the colours among the species of a scene, and put its things into other cells."""
    names = sorted({thing.species for thing in scene.things})
    colour_of = {thing.species: thing.colour for thing in scene.things}
    colours = [colour_of[name] for name in names]
    if len(set(colours)) == 1:
        colours = _other_colours(len(names), generator)
    permuted = dict(zip(names, [colours[i] for i in generator.permutation(len(colours))], strict=True))
    things = [replace(thing, colour=permuted[thing.species]) for thing in scene.things]
    return Scene(scene.background, _rearranged(config, things, generator))


def _other_colours(num: int, generator: np.random.Generator) -> list[str]:
    return [str(name) for name in generator.permutation(tuple(COLOURS))[:num]]


def _rearranged(config: MiniwebConfig, things: list[Thing], generator: np.random.Generator) -> tuple[Thing, ...]:
    cells = cell_middles(generator, len(things), config.layout.grid)
    order = generator.permutation(len(things))
    return tuple(
        place_again(generator, things[index], cell, config.layout) for index, cell in zip(order, cells, strict=True)
    )
