"""From an RGB image to the square of uint8 pixels a model is fed; normalisation happens later, on the model's device.

All functions return `channel height width` in RGB order. Randomness comes from the generator passed in.
"""

import math

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

Pixels = UInt8[np.ndarray, "3 size size"]

CLIP_MEAN_COLOUR = (122, 116, 104)
"""CLIP's mean colour in 0..255, with which LLaVA-1.5 fills the margins (arXiv 2310.03744, code)."""
CROP_AREA_MIN_SHARE = 0.4
"""Least area of a random crop (CLIPA's `inception_crop`, area_min 40)."""
MAX_PADDED_SIDE_PX = 13_377
"""Side of the largest square that is padded at full size: no more pixels than a decoded image may have."""
_CROP_ASPECT_RANGE = (3 / 4, 4 / 3)
_CROP_ATTEMPTS = 10


def pad_to_square(image: Image.Image, size_px: int, fill: tuple[int, int, int] = CLIP_MEAN_COLOUR) -> Pixels:
    """Pad to a centred square with `fill`, then resize (LLaVA-1.5's `expand2square` and CLIP's bicubic resize).

    An image longer than `MAX_PADDED_SIDE_PX` is shrunk to that length first, since its square would take gigabytes.
    """
    if max(image.size) > MAX_PADDED_SIDE_PX:
        image = ImageOps.contain(image, (MAX_PADDED_SIDE_PX, MAX_PADDED_SIDE_PX))
    width, height = image.size
    side = max(width, height)
    if width != height:
        canvas = Image.new("RGB", (side, side), fill)
        canvas.paste(image, ((side - width) // 2, (side - height) // 2))
        image = canvas
    return _pixels(image.resize((size_px, size_px), Image.Resampling.BICUBIC))


def random_resized_crop(
    image: Image.Image,
    size_px: int,
    generator: np.random.Generator,
    area_min: float = CROP_AREA_MIN_SHARE,
    resampling: Image.Resampling = Image.Resampling.BICUBIC,
) -> Pixels:
    """Cut a random box of `area_min` to all of the area, aspect ratio 3/4 to 4/3, and resize it (Inception crop)."""
    box = random_crop_box(image.size, generator, area_min)
    return _pixels(image.resize((size_px, size_px), resampling, box=box))


def center_crop_flip(image: Image.Image, size_px: int, generator: np.random.Generator, flip: bool) -> Pixels:
    """Resize the shorter side, cut the centre, and mirror half of the images if `flip` (DiT's preprocessing)."""
    pixels = resize_center_crop(image, size_px)
    if flip and generator.random() < 0.5:
        return np.ascontiguousarray(pixels[:, :, ::-1])
    return pixels


def resize_center_crop(image: Image.Image, size_px: int) -> Pixels:
    """Resize the shorter side to `size_px` and cut the centred square: evaluation's transform."""
    width, height = image.size
    scale = size_px / min(width, height)
    # The long side rounds down and the box to the nearest pixel, as in torchvision.
    resized = (max(size_px, int(width * scale)), max(size_px, int(height * scale)))
    left, top = round((resized[0] - size_px) / 2.0), round((resized[1] - size_px) / 2.0)
    image = image.resize(resized, Image.Resampling.BICUBIC)
    return _pixels(image.crop((left, top, left + size_px, top + size_px)))


def random_crop_box(
    size: tuple[int, int], generator: np.random.Generator, area_min: float
) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of a random crop; a centred box of allowed ratio if none of ten draws fits."""
    width, height = size
    log_low, log_high = map(math.log, _CROP_ASPECT_RANGE)
    for area_draw, ratio_draw, left_draw, top_draw in generator.random((_CROP_ATTEMPTS, 4)).tolist():
        area = width * height * (area_min + (1 - area_min) * area_draw)
        ratio = math.exp(log_low + (log_high - log_low) * ratio_draw)
        crop_width, crop_height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < crop_width <= width and 0 < crop_height <= height:
            left, top = int(left_draw * (width - crop_width + 1)), int(top_draw * (height - crop_height + 1))
            return left, top, left + crop_width, top + crop_height
    return _central_box(width, height)


def _central_box(width: int, height: int) -> tuple[int, int, int, int]:
    low, high = _CROP_ASPECT_RANGE
    crop_width, crop_height = min(width, round(height * high)), min(height, round(width / low))
    left, top = (width - crop_width) // 2, (height - crop_height) // 2
    return left, top, left + crop_width, top + crop_height


def _pixels(image: Image.Image) -> Pixels:
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))
