"""The held-out sets' contents: which scene with which texts or label."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count, islice

from miniweb import annotator
from miniweb.catalogue import KINDS, SPECIES_BY_NAME
from miniweb.config import MiniwebConfig
from miniweb.lexicon import NOUNS
from miniweb.scene import Scene
from miniweb.splits import SPLITS, belongs, distinct_scenes, draw_scene
from miniweb.world import Domain
from runtime.seeds import numpy_generator

CAPTIONS_PER_IMAGE = 5
"""As in COCO and Flickr30K."""
_SWAP_SCENES = Domain(num_things_shares=(0.0, 0.75, 0.25), repeat_share=0.0)


@dataclass(frozen=True)
class Item:
    """One benchmark sample: texts for retrieval and swap (true first), a class number for classification."""

    scene: Scene
    texts: tuple[str, ...] = ()
    label: int | None = None


def short_retrieval(config: MiniwebConfig, name: str) -> list[Item]:
    """Return images with five people's captions each."""
    scenes = islice(distinct_scenes(config, SPLITS[name]), config.counts.retrieval)
    return [
        Item(
            scene,
            tuple(
                annotator.caption(scene, numpy_generator(config.seed, "caption", name, index, person))
                for person in range(CAPTIONS_PER_IMAGE)
            ),
        )
        for index, scene in enumerate(scenes)
    ]


def long_retrieval(config: MiniwebConfig, name: str) -> list[Item]:
    """Return images with one long description each."""
    scenes = islice(distinct_scenes(config, SPLITS[name]), config.counts.retrieval)
    return [
        Item(scene, (annotator.describe(scene, numpy_generator(config.seed, "caption", name, index)),))
        for index, scene in enumerate(scenes)
    ]


SPECIES_CLASSES: tuple[str, ...] = tuple(SPECIES_BY_NAME)
KIND_CLASSES: tuple[str, ...] = tuple(NOUNS[kind][0] for kind in KINDS)


def species_classification(config: MiniwebConfig, name: str) -> list[Item]:
    """Return images of one thing each, all species equally often."""
    names = [SPECIES_CLASSES[index % len(SPECIES_CLASSES)] for index in range(config.counts.species)]
    return [
        Item(
            _lone_scene(config, name, index, SPECIES_BY_NAME[species].kind, species),
            label=SPECIES_CLASSES.index(species),
        )
        for index, species in enumerate(names)
    ]


def kind_classification(config: MiniwebConfig, name: str) -> list[Item]:
    """Return images of one thing each, all kinds equally often, their species as common as they are on the web."""
    kinds = [KINDS[index % len(KINDS)] for index in range(config.counts.kinds)]
    return [Item(_lone_scene(config, name, index, kind), label=KINDS.index(kind)) for index, kind in enumerate(kinds)]


def colour_swap(config: MiniwebConfig, name: str) -> list[Item]:
    """Return `counts.swap` images with a true caption and a false one, the same words with two colours exchanged.

    Each is followed by its mirror image, the scene with the two colours exchanged, for which the same two captions
    change places: whoever reads the captions alone scores 50 %, whatever he prefers.
    """
    return list(islice(_swap_items(config, name), config.counts.swap))


def _lone_scene(config: MiniwebConfig, split_name: str, index: int, kind: str, species: str | None = None) -> Scene:
    """Return a scene with one thing of the given kind and, if told, species."""
    split = SPLITS[split_name]
    generator = numpy_generator(config.seed, "scene", split_name, index)
    domain = Domain(num_things_shares=(1.0,), kind_shares={kind: 1.0})
    while True:
        scene = draw_scene(config, split, generator, domain)
        changed = scene if species is None else replace(scene, things=(replace(scene.things[0], species=species),))
        if belongs(changed, split):
            return changed


def _swap_items(config: MiniwebConfig, name: str) -> Iterator[Item]:
    split = SPLITS[name]
    for index in count():
        generator = numpy_generator(config.seed, "scene", name, index)
        scene = draw_scene(config, split, generator, _SWAP_SCENES)
        if not annotator.swappable(scene):
            continue
        true, false = annotator.swap_pair(scene, generator)
        mirror = exchanged(scene, true)
        if belongs(mirror, split):
            yield Item(scene, (true, false))
            yield Item(mirror, (false, true))


def exchanged(scene: Scene, caption: str) -> Scene:
    """Return the scene with the colours exchanged of the two things that the caption names."""
    words = set(caption.lower().replace(".", " ").replace(",", " ").split())
    first, second = (i for i, thing in enumerate(scene.things) if words & set(NOUNS[thing.kind]))
    things = list(scene.things)
    things[first] = replace(things[first], colour=scene.things[second].colour)
    things[second] = replace(things[second], colour=scene.things[first].colour)
    return replace(scene, things=tuple(things))
