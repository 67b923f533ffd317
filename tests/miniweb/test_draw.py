import io
from itertools import combinations

import numpy as np
import pytest
from PIL import Image

from miniweb.art.pen import SHEET_SIDES
from miniweb.art.sprites import sprite
from miniweb.draw import contact_sheet, encode, render
from miniweb.scene import Scene, Thing
from miniweb.world import BACKGROUNDS, COLOURS, KINDS, SPECIES, sample_scene
from runtime.seeds import numpy_generator


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB"), dtype=float)


def test_every_species_is_drawn_and_told_apart_from_its_kin() -> None:
    for kind in KINDS:
        side_px = round(24 * SHEET_SIDES)
        drawn = {one.name: np.asarray(sprite(one.name, "red", side_px), dtype=float) for one in SPECIES[kind]}
        for first, second in combinations(drawn, 2):
            changed = np.abs(drawn[first] - drawn[second]).max(axis=-1) > 60
            assert changed.mean() * SHEET_SIDES**2 > 0.05, f"{first} and {second} look alike at 24 pixels"


def test_every_species_shows_its_colour() -> None:
    for kind in KINDS:
        for species in SPECIES[kind]:
            for colour in (COLOURS["yellow"], COLOURS["purple"]):
                picture = np.asarray(sprite(species.name, colour.name, 32), dtype=float)
                near = np.linalg.norm(picture[..., :3] - colour.fill, axis=-1) < 40
                assert (near & (picture[..., 3] > 200)).mean() > 0.06, f"{species.name} in {colour.name}"


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_backgrounds_are_light(background: str) -> None:
    thing = Thing("ball", "beachum", "red", "small", 0.25, 0.25, 0.2)
    image = pixels(render(Scene(background, (thing,)), numpy_generator("light"), 96, 96))
    assert image[:, 60:].mean() > 185


@pytest.mark.parametrize(("width_px", "height_px"), [(96, 96), (128, 80), (80, 128)])
def test_a_thing_lies_where_the_scene_says(width_px: int, height_px: int) -> None:
    with_thing = Scene("snow", (Thing("ball", "starrit", "red", "large", 0.7, 0.3, 0.4),))
    without = Scene("snow", (Thing("ball", "starrit", "red", "large", 0.7, 0.3, 0.02),))
    images = [pixels(render(scene, numpy_generator("where"), width_px, height_px)) for scene in (with_thing, without)]
    rows, columns = np.nonzero(np.abs(images[0] - images[1]).sum(axis=-1) > 30)
    side = min(width_px, height_px)
    left, top = (width_px - side) / 2, (height_px - side) / 2
    assert columns.min() >= left + 0.5 * side - 1 and columns.max() <= left + 0.9 * side + 1
    assert rows.min() >= top + 0.1 * side - 1 and rows.max() <= top + 0.5 * side + 1
    assert (columns.max() - columns.min()) / side == pytest.approx(0.4, abs=0.05)


def test_same_generator_same_bytes() -> None:
    scene = sample_scene(numpy_generator("scene"), "web")
    jpegs = [encode(render(scene, numpy_generator("draw", part), 100, 80)) for part in (1, 1, 2)]
    assert jpegs[0] == jpegs[1] != jpegs[2]
    image = Image.open(io.BytesIO(jpegs[0]))
    assert (image.format, image.size) == ("JPEG", (100, 80))


def test_contact_sheet_has_a_place_for_every_scene_and_all_lines() -> None:
    scenes = [sample_scene(numpy_generator("sheet", index), "web") for index in range(5)]
    short = contact_sheet(scenes, ["a"] * 5, num_columns=4, picture_px=80)
    long = contact_sheet(scenes, ["a\nb\n" + "word " * 30] * 5, num_columns=4, picture_px=80)
    assert long.height > short.height > 2 * 80 and short.width > 4 * 80
