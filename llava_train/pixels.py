"""From a decoded picture to the pixels a captioner sees; training, captioning and the published processor agree."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor, nn
from transformers import LlavaImageProcessor

from imagetext.transforms import pad_to_square, resize_center_crop
from runtime.errors import UserError
from runtime.json_files import read_object

PROCESSOR_FILES = ("processor_config.json", "preprocessor_config.json")


@dataclass(frozen=True, kw_only=True)
class PixelGeometry:
    """How a picture becomes a square of pixels, as its model's image processor says."""

    image_size_px: int
    """Side of the square."""
    mean: tuple[float, float, float]
    """Mean colour in [0, 1]; also the colour of the padding."""
    std: tuple[float, float, float]
    """Standard deviation of the colours in [0, 1]."""
    pad: bool = True
    """Pad to a square before resizing (LLaVA-1.5); otherwise resize the shorter side and crop the centre."""

    @property
    def fill(self) -> tuple[int, int, int]:
        """Return the padding colour as `LlavaImageProcessor` rounds it."""
        red, green, blue = (int(value * 255) for value in self.mean)
        return red, green, blue

    def prepare(self, image: Image.Image) -> UInt8[np.ndarray, "channel height width"]:
        """Return the square of pixels of one RGB picture."""
        if self.pad:
            return pad_to_square(image, self.image_size_px, fill=self.fill)
        return resize_center_crop(image, self.image_size_px)

    def published(self) -> LlavaImageProcessor:
        """Return the transformers processor that makes the same pixels."""
        return LlavaImageProcessor(
            do_pad=self.pad,
            size={"shortest_edge": self.image_size_px},
            crop_size={"height": self.image_size_px, "width": self.image_size_px},
            image_mean=list(self.mean),
            image_std=list(self.std),
        )


class Normaliser(nn.Module):
    """Turn bytes into the zero-centred floats that a vision tower expects."""

    mean: Tensor
    std: Tensor

    def __init__(self, geometry: PixelGeometry):
        super().__init__()
        self.register_buffer("mean", 255 * torch.tensor(geometry.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(geometry.std).view(1, 3, 1, 1), persistent=False)

    def forward(
        self, images: UInt8[Tensor, "images channel height width"]
    ) -> Float[Tensor, "images channel height width"]:
        """Return float32 pixel values."""
        return (images.float() - self.mean) / self.std


def read_geometry(folder: Path) -> PixelGeometry:
    """Read the pixel geometry of a transformers model directory from its image processor's settings."""
    settings = _image_processor_settings(folder)
    try:
        return PixelGeometry(
            image_size_px=_side_px(settings.get("crop_size", settings["size"])),
            mean=_three(settings["image_mean"]),
            std=_three(settings["image_std"]),
            pad=bool(settings.get("do_pad", False)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError("no usable image processor settings", where=folder, found=str(error)) from error


def _image_processor_settings(folder: Path) -> dict[str, Any]:
    for name in PROCESSOR_FILES:
        if (folder / name).exists():
            settings = read_object(folder / name)
            if "image_processor" in settings or "image_mean" in settings:
                return settings.get("image_processor", settings)
    raise UserError("no image processor", where=folder, found="no such file", wanted=" or ".join(PROCESSOR_FILES))


def _side_px(size: int | Mapping[str, int]) -> int:
    """Return the side of a square; OpenAI's own settings give it as a bare number."""
    if isinstance(size, int):
        return size
    return int(size["height"] if "height" in size else size["shortest_edge"])


def _three(values: Sequence[float]) -> tuple[float, float, float]:
    first, second, third = (float(value) for value in values)
    return first, second, third
