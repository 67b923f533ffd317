"""The pictures and captions that measurements work on: scenes of the small web."""

from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image

from miniweb import annotator
from miniweb.draw import render
from miniweb.world import sample_scene
from runtime.seeds import numpy_generator


@dataclass(frozen=True)
class Pair:
    """One picture and what a person would say of it."""

    image: Image.Image
    caption: str


def draw_pairs(num_pairs: int, width_px: int, height_px: int) -> Iterator[Pair]:
    """Yield the same pictures and captions on every machine."""
    for index in range(num_pairs):
        generator = numpy_generator("benchmarks", index)
        scene = sample_scene(generator, "web")
        yield Pair(render(scene, generator, width_px, height_px), annotator.caption(scene, generator))
