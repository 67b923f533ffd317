from itertools import islice

import pytest

from miniweb.config import MiniwebConfig
from miniweb.holdouts import combinations_of, held_out
from miniweb.manifest import check_disjoint
from miniweb.scene import Scene, Thing, signature
from miniweb.splits import FAMILY_SHARES, SPLITS, belongs, distinct_scenes, family_of, split_scene
from miniweb.units import short_signature
from miniweb.variants import product_group, web_scenes
from miniweb.world import sample_scene
from runtime.seeds import numpy_generator
from tests.miniweb.tiny import tiny_config


@pytest.fixture
def config(tmp_path) -> MiniwebConfig:
    return tiny_config(tmp_path)


def test_families_share_out_all_scenes() -> None:
    assert sum(FAMILY_SHARES.values()) == pytest.approx(1)
    families = [family_of(sample_scene(numpy_generator("families", index), "web")) for index in range(1500)]
    for family, share in FAMILY_SHARES.items():
        assert families.count(family) / 1500 == pytest.approx(share, abs=0.03)


@pytest.mark.parametrize("name", [name for name in SPLITS if name != "recombined"])
def test_scenes_of_a_split_are_its_family_s_and_show_nothing_held_out(config: MiniwebConfig, name: str) -> None:
    for index in range(3):
        scene = split_scene(config, SPLITS[name], index)
        assert belongs(scene, SPLITS[name]) and not combinations_of(scene)
        assert scene == split_scene(config, SPLITS[name], index)


def test_held_out_combinations_are_recognised() -> None:
    kind, colour = held_out().kind_colours[0]
    species = "mirrow"
    assert combinations_of(Scene("sky", (Thing(kind, species, colour, "large", 0.5, 0.5, 0.4),))) == ((kind, colour),)
    first, name, second = held_out().kind_relations[0]
    assert name == "above"
    things = (
        Thing(first, species, "?", "large", 0.25, 0.25, 0.4),
        Thing(second, species, "?", "large", 0.25, 0.75, 0.4),
    )
    assert combinations_of(Scene("sky", things)) == ((first, name, second),)


def test_retrieval_scenes_differ_in_more_than_position(config: MiniwebConfig) -> None:
    scenes = list(islice(distinct_scenes(config, SPLITS["retrieval_short_b"]), 200))
    looks = {(scene.background, *sorted((thing.kind, thing.colour) for thing in scene.things)) for scene in scenes}
    assert len(looks) == 200


def test_product_variants_permute_colours(config: MiniwebConfig) -> None:
    sizes = []
    for index in range(30):
        group = product_group(config, numpy_generator("group", index))
        sizes.append(len(group))
        kinds = [sorted((thing.species, thing.size) for thing in scene.things) for scene in group]
        looks = {tuple(sorted((thing.species, thing.colour) for thing in scene.things)) for scene in group}
        assert all(kind == kinds[0] for kind in kinds) and len({scene.background for scene in group}) == 1
        assert len(looks) == len(group), "who wears which colour tells variants apart"
        if len({thing.colour for thing in group[0].things}) > 1:
            colours = [sorted({thing.colour for thing in scene.things}) for scene in group]
            assert all(colour == colours[0] for colour in colours)
        assert all(belongs(scene, SPLITS["web"]) for scene in group)
    assert sum(size > 1 for size in sizes) >= 28 and max(sizes) == 4


def test_variants_are_neighbours_and_as_common_as_asked(config: MiniwebConfig) -> None:
    pages = list(islice(web_scenes(config, 0), 1200))
    groups = [page.group for page in pages]
    assert sum(group is not None for group in groups) / 1200 == pytest.approx(0.3, abs=0.06)
    for group in {group for group in groups if group is not None}:
        places = [place for place, other in enumerate(groups) if other == group]
        assert places == list(range(places[0], places[-1] + 1))


def test_shared_scenes_are_noticed() -> None:
    scene = sample_scene(numpy_generator("shared"), "web")
    marks = [{"part": part, "signatures": [short_signature(signature(scene))]} for part in ("web", "benchmark_swap")]
    with pytest.raises(RuntimeError, match=r"splits share scenes: .*'test and web': 1"):
        check_disjoint(marks)
