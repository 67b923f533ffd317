"""What a CLIP sees of a picture: the square of uint8 pixels that its own transform makes, without its libraries."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
RESIZE_MODES = ("shortest", "squash")


@dataclass(frozen=True, kw_only=True)
class ClipPixels:
    """The picture part of an open_clip directory's evaluation transform; it is pickled to decode processes."""

    size_px: int
    resize_mode: str
    """shortest: the shorter side is resized, the centre cut out. squash: both sides are."""
    interpolation: str

    def __call__(self, image: Image.Image) -> UInt8[np.ndarray, "3 size size"]:
        """Return the pixels of one RGB picture, as torchvision's Resize and CenterCrop make them of it."""
        size, kernel = self.size_px, _FILTERS[self.interpolation]
        if self.resize_mode == "squash":
            return _pixels(image.resize((size, size), kernel))
        shorter = min(image.size)
        # The long side rounds down, as in torchvision.
        width, height = (size if side == shorter else max(size, int(size * side / shorter)) for side in image.size)
        left, top = (round((side - size) / 2.0) for side in (width, height))
        return _pixels(image.resize((width, height), kernel).crop((left, top, left + size, top + size)))


@dataclass(frozen=True, kw_only=True)
class BothPictures:
    """One picture as the captioner and as the scorer want it."""

    asked: Any
    scored: UInt8[np.ndarray, "3 size size"]


@dataclass(frozen=True, kw_only=True)
class PrepareBoth:
    """A captioner's preparation and a scorer's, in one decoding."""

    asked: Callable[[Image.Image], Any]
    scored: ClipPixels

    def __call__(self, image: Image.Image) -> BothPictures:
        """Return both preparations of an RGB picture."""
        return BothPictures(asked=self.asked(image), scored=self.scored(image))


def is_known(resize_mode: str, interpolation: str) -> bool:
    """Tell whether a transform of this kind is one of these."""
    return resize_mode in RESIZE_MODES and interpolation in _FILTERS


def _pixels(image: Image.Image) -> UInt8[np.ndarray, "3 size size"]:
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))
