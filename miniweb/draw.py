"""From scenes to pictures."""

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from miniweb.art.backgrounds import background
from miniweb.art.pen import SHEET_SIDES
from miniweb.art.sprites import sprite
from miniweb.scene import Scene
from runtime.seeds import numpy_generator

JPEG_QUALITY = 92


def render(scene: Scene, generator: np.random.Generator, width_px: int, height_px: int) -> Image.Image:
    """Draw a scene; its things lie in the central square, and the generator varies the background alone.

    A thing's scale is the side of its unit square; outlines and leaning parts may reach into the sheet's margin.
    """
    image = background(scene.background, generator, width_px, height_px)
    side = min(width_px, height_px)
    left, top = (width_px - side) / 2, (height_px - side) / 2
    for thing in scene.things:
        side_px = round(thing.scale * side * SHEET_SIDES)
        picture = sprite(thing.species, thing.colour, side_px)
        corner = (round(left + thing.x * side - side_px / 2), round(top + thing.y * side - side_px / 2))
        image.paste(picture, corner, picture)
    return image


def encode(image: Image.Image) -> bytes:
    """Return the image as JPEG, colours at full resolution (halved, small coloured details bleed)."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()


def contact_sheet(
    scenes: Sequence[Scene], captions: Sequence[str], *, num_columns: int = 4, picture_px: int = 240
) -> Image.Image:
    """Draw scenes side by side, each with its caption below (line breaks are kept, long lines are folded)."""
    font = _font(picture_px / 18)
    line_px, gap_px = round(picture_px / 14), round(picture_px / 20)
    folded = [
        [part for line in caption.splitlines() for part in textwrap.wrap(line, 32) or [""]] for caption in captions
    ]
    text_px = line_px * max((len(lines) for lines in folded), default=0)
    cell_width, cell_height = picture_px + 2 * gap_px, picture_px + text_px + 2 * gap_px
    num_rows = -(-len(scenes) // num_columns)
    sheet = Image.new("RGB", (cell_width * num_columns, cell_height * num_rows), "white")
    draw = ImageDraw.Draw(sheet)
    for index, (scene, lines) in enumerate(zip(scenes, folded, strict=True)):
        left = index % num_columns * cell_width + gap_px
        top = index // num_columns * cell_height + gap_px
        sheet.paste(render(scene, numpy_generator("contact sheet", index), picture_px, picture_px), (left, top))
        for number, line in enumerate(lines):
            draw.text((left, top + picture_px + gap_px // 2 + number * line_px), line, fill=(40, 40, 40), font=font)
    return sheet


def _font(size_px: float) -> ImageFont.FreeTypeFont:
    """Return a font with accents, which Pillow's own lacks."""
    from matplotlib import get_data_path

    return ImageFont.truetype(Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size_px)
