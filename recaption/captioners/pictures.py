"""What captioners make of a picture: the square that a LLaVA was trained on, or the picture within a size, encoded."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from llava_train.pixels import PixelGeometry, read_geometry
from recaption.captioners.llava_folders import is_llava

JPEG_QUALITY = 95
"""At which DataComp's own pictures are kept."""


@dataclass(frozen=True, kw_only=True)
class FitWithin:
    """Shrink a picture whose longer side is longer than wanted; leave others as they are."""

    longer_side_px: int

    def prepare(self, image: Image.Image) -> UInt8[np.ndarray, "channel height width"]:
        """Return the pixels of one RGB picture."""
        scale = self.longer_side_px / max(image.size)
        if scale < 1:
            width, height = (max(1, round(side * scale)) for side in image.size)
            image = image.resize((width, height), Image.Resampling.BICUBIC)
        return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


@dataclass(frozen=True, kw_only=True)
class Encode:
    """Encode what another preparation makes of a picture."""

    pixels: PixelGeometry | FitWithin
    image_format: Literal["png", "jpeg"]

    def prepare(self, image: Image.Image) -> bytes:
        """Return the bytes of a file."""
        buffer = io.BytesIO()
        # The size of a PNG hardly falls above zlib's first level, and its time does triple.
        options = {"compress_level": 1} if self.image_format == "png" else {"quality": JPEG_QUALITY}
        as_image(self.pixels.prepare(image)).save(buffer, self.image_format.upper(), **options)
        return buffer.getvalue()


def as_image(pixels: UInt8[np.ndarray, "channel height width"]) -> Image.Image:
    """Return prepared pixels as a picture."""
    return Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))


def pixels_of(model: Path, longer_side_px: int) -> PixelGeometry | FitWithin:
    """Return what is made of pictures for a model.

    A LLaVA directory's image processor leaves its own squares as they are, so whoever serves it sees what training saw.
    Models of other kinds cut pictures by rules of their own, and get them whole.
    """
    return read_geometry(model) if is_llava(model) else FitWithin(longer_side_px=longer_side_px)
