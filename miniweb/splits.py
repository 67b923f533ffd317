"""Which scenes belong to which split.

Every scene belongs to exactly one family, by a hash of its signature that no seed changes: splits of different families
are disjoint by construction, within a build and between builds of different seeds.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from miniweb.config import MiniwebConfig
from miniweb.holdouts import combinations_of
from miniweb.scene import Scene, signature
from miniweb.world import Domain, DomainName, sample_scene
from runtime.seeds import numpy_generator, uniform

Family = Literal["web", "foundation", "captioner", "judges", "development", "test"]

FAMILY_SHARES: Mapping[Family, float] = {
    "web": 0.30,
    "foundation": 0.25,
    "captioner": 0.15,
    "judges": 0.10,
    "development": 0.05,
    "test": 0.15,
}
TRAINING_FAMILIES: tuple[Family, ...] = ("web", "foundation", "captioner", "judges")
_MAX_ATTEMPTS = 10_000


@dataclass(frozen=True)
class Split:
    """A named set of scenes: its family, and the domain its scenes are drawn from."""

    name: str
    family: Family
    domain: DomainName


SPLITS: Mapping[str, Split] = {
    split.name: split
    for split in (
        Split("web", "web", "web"),
        Split("foundation", "foundation", "foundation"),
        Split("captioner", "captioner", "captioner"),
        Split("captioner_text", "captioner", "captioner"),
        Split("judges_train", "judges", "judges"),
        Split("judges_test", "test", "judges"),
        Split("captioner_heldout", "test", "captioner"),
        Split("web_heldout", "test", "web"),
        Split("development", "development", "web"),
        Split("retrieval_short_a", "test", "benchmark_a"),
        Split("retrieval_short_b", "test", "benchmark_b"),
        Split("retrieval_long", "test", "benchmark_a"),
        Split("species", "test", "web"),
        Split("kinds", "test", "web"),
        Split("swap", "test", "web"),
        Split("prompts", "test", "web"),
        Split("recombined", "test", "web"),
        Split("longer", "test", "crowded"),
    )
}


def family_of(scene: Scene) -> Family:
    """Return the one family that a scene belongs to."""
    position = uniform("family", signature(scene))
    for family, share in FAMILY_SHARES.items():
        position -= share
        if position < 0:
            return family
    return "test"


def belongs(scene: Scene, split: Split) -> bool:
    """Say whether a split may hold a scene: of its family, and nothing held out in it."""
    return family_of(scene) == split.family and not combinations_of(scene)


def draw_scene(
    config: MiniwebConfig, split: Split, generator: np.random.Generator, domain: Domain | None = None
) -> Scene:
    """Draw scenes from the split's domain (or another) until one belongs to the split."""
    for _ in range(_MAX_ATTEMPTS):
        scene = sample_scene(generator, domain or split.domain, config.layout)
        if belongs(scene, split):
            return scene
    raise RuntimeError(f"no scene for {split.name} in {_MAX_ATTEMPTS} attempts")


def split_scene(config: MiniwebConfig, split: Split, index: int) -> Scene:
    """Return the split's scene number `index`; a pure function of the config's seed and layout."""
    return draw_scene(config, split, numpy_generator(config.seed, "scene", split.name, index))


def distinct_scenes(config: MiniwebConfig, split: Split) -> Iterator[Scene]:
    """Yield the split's scenes without end, leaving out those with the place, kinds and colours of an earlier one.

    Retrieval sets need this: two images that one caption fits alike have no right answer.
    """
    seen: set[tuple[str, ...]] = set()
    index = 0
    while True:
        scene = split_scene(config, split, index)
        index += 1
        look = (scene.background, *sorted(f"{thing.kind}/{thing.colour}" for thing in scene.things))
        if look not in seen:
            seen.add(look)
            yield scene
