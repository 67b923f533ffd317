from collections import Counter
from itertools import combinations

import numpy as np
import pytest

from miniweb.scene import RELATION_GAP
from miniweb.world import (
    BACKGROUNDS,
    COLOURS,
    DOMAINS,
    KINDS,
    SPECIES,
    SPECIES_BY_NAME,
    Domain,
    LayoutConfig,
    sample_scene,
)
from runtime.errors import UserError

LAYOUTS = [LayoutConfig(), LayoutConfig(grid=3), LayoutConfig(position_jitter=1.0, small_share=0.3)]


def test_catalogue() -> None:
    assert len(KINDS) == 24 and len(COLOURS) == 8 and len(BACKGROUNDS) == 6
    names = [species.name for kind in KINDS for species in SPECIES[kind]]
    assert len(set(names)) == len(names) == len(SPECIES_BY_NAME)
    assert not set(names) & {*KINDS, *COLOURS, *BACKGROUNDS}
    for kind in KINDS:
        weights = [species.weight for species in SPECIES[kind]]
        assert 3 <= len(weights) <= 4 and sum(weights) == pytest.approx(1)
        assert weights[0] == pytest.approx(2 * weights[1]), "Zipf: the second is half as common as the first"
        known = [species.known_to_captioner for species in SPECIES[kind]]
        assert known == sorted(known, reverse=True) and 0 < sum(known) <= len(known) / 2


def test_colours_are_well_apart() -> None:
    for first, second in combinations(COLOURS.values(), 2):
        distance = float(np.linalg.norm(np.subtract(first.fill, second.fill)))
        assert distance > 75, f"{first.name} and {second.name}"


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("domain", list(DOMAINS))
def test_things_lie_whole_in_the_central_square_and_apart(layout: LayoutConfig, domain: str) -> None:
    generator = np.random.default_rng(1)
    for _ in range(150):
        scene = sample_scene(generator, DOMAINS[domain], layout)  # type: ignore[index]
        for thing in scene.things:
            half = thing.scale / 2
            assert half <= thing.x <= 1 - half and half <= thing.y <= 1 - half
        for first, second in combinations(scene.things, 2):
            gap = max(abs(first.x - second.x), abs(first.y - second.y))
            assert gap >= (first.scale + second.scale) / 2 - 1e-3, "boxes overlap"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_distance_is_a_matter_of_opinion(layout: LayoutConfig) -> None:
    generator = np.random.default_rng(2)
    for _ in range(400):
        for first, second in combinations(sample_scene(generator, "judges", layout).things, 2):
            for distance in (abs(first.x - second.x), abs(first.y - second.y)):
                assert abs(distance - RELATION_GAP) > 0.02


def test_things_come_in_reading_order() -> None:
    generator = np.random.default_rng(3)
    for _ in range(200):
        cells = [
            (round(thing.y * 2 - 0.5), round(thing.x * 2 - 0.5)) for thing in sample_scene(generator, "judges").things
        ]
        assert len(cells) == 1 or cells == sorted(cells)


def test_shares_are_as_configured() -> None:
    generator = np.random.default_rng(4)
    domain = Domain(num_things_shares=(0.4, 0.3, 0.2, 0.1), repeat_share=0.25, large_share=0.6)
    scenes = [sample_scene(generator, domain) for _ in range(4000)]
    counts = Counter(len(scene.things) for scene in scenes)
    assert [counts[number] / 4000 for number in (1, 2, 3, 4)] == pytest.approx([0.4, 0.3, 0.2, 0.1], abs=0.03)
    several = [scene for scene in scenes if len(scene.things) > 1]
    doubled = [scene for scene in several if len({thing.kind for thing in scene.things}) < len(scene.things)]
    assert len(doubled) / len(several) == pytest.approx(0.25, abs=0.04)
    for scene in doubled:
        looks = Counter((thing.kind, thing.species, thing.colour, thing.size) for thing in scene.things)
        assert max(looks.values()) == 2 and len(looks) == len(scene.things) - 1
    things = [thing for scene in scenes for thing in scene.things]
    assert np.mean([thing.size == "large" for thing in things]) == pytest.approx(0.6, abs=0.03)
    colours = Counter((thing.kind == "cat", thing.colour) for thing in things)
    assert len(colours) == 16, "every colour on cats and on others"


def test_same_seed_same_scenes() -> None:
    first, second, other = (np.random.default_rng(seed) for seed in (5, 5, 6))
    scenes = [sample_scene(first, "web") for _ in range(20)]
    assert scenes == [sample_scene(second, "web") for _ in range(20)]
    assert scenes != [sample_scene(other, "web") for _ in range(20)]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"grid": 4}, "grid: found 4, wanted 2 or 3"),
        ({"small_share": 0.95}, "sizes of things: found"),
        ({"position_jitter": 1.5}, "position_jitter: found 1.5, wanted a share in"),
    ],
)
def test_impossible_layouts_are_refused(values: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        LayoutConfig(**values)  # type: ignore[arg-type]


def test_five_things_are_refused() -> None:
    with pytest.raises(UserError, match=r"num_things_shares: found .* wanted 1 to 4 shares"):
        Domain(num_things_shares=(0.2,) * 5)
