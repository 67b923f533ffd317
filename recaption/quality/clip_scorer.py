"""Cosines between pictures and captions by any open_clip directory, in the pass that captions them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from clip_train.model import load_encoder
from recaption.quality.clip_pixels import ClipPixels, is_known
from runtime.errors import UserError
from runtime.json_files import read_object

_DEFAULTS = {"resize_mode": "shortest", "interpolation": "bicubic"}
"""What open_clip takes where a directory does not say."""


class ClipScorer:
    """One CLIP; features are unit vectors in float32 on the CPU, whatever else stands in a batch."""

    def __init__(self, folder: Path, device: torch.device):
        """Load a directory; raises UserError where it is none, or its transform is not one of ours."""
        self._encoder = load_encoder(folder, device)
        self.pixels = _pixels_of(folder, self._encoder.preprocess)
        normalise = self._encoder.preprocess.transforms[-1]
        self._mean, self._std = (torch.tensor(each).view(1, 3, 1, 1) for each in (normalise.mean, normalise.std))
        self._check(folder)

    def picture_features(self, pixels: Sequence[UInt8[np.ndarray, "3 size size"]]) -> Float[Tensor, "pictures width"]:
        """Return the features of prepared pictures."""
        return self._encoder.encode_prepared(self._normalised(np.stack(pixels)))

    def text_features(self, texts: Sequence[str]) -> Float[Tensor, "texts width"]:
        """Return the features of texts; what goes beyond the model's context is cut off."""
        return self._encoder.encode_texts(texts, len(texts))

    def _normalised(self, pixels: UInt8[np.ndarray, "pictures 3 size size"]) -> Float[Tensor, "pictures 3 size size"]:
        return (torch.from_numpy(pixels).float() / 255 - self._mean) / self._std

    def _check(self, folder: Path) -> None:
        """Compare our pixels with the directory's own transform, on a picture that is no square."""
        noise = np.random.default_rng(0).integers(0, 256, (90, 141, 3), dtype=np.uint8)
        image = Image.fromarray(noise)
        ours, theirs = self._normalised(self.pixels(image)[None]), self._encoder.preprocess(image)[None]
        if ours.shape != theirs.shape or not torch.allclose(ours, theirs, atol=1e-5):
            raise _unknown_transform(folder, str(self._encoder.preprocess))


def _pixels_of(folder: Path, preprocess: Any) -> ClipPixels:
    said = {**_DEFAULTS, **read_object(folder / "open_clip_config.json").get("preprocess_cfg", {})}
    mode, interpolation = str(said["resize_mode"]), str(said["interpolation"])
    size_px = preprocess(Image.new("RGB", (64, 64))).shape[-1]
    if not is_known(mode, interpolation):
        raise _unknown_transform(folder, f"resize_mode {mode}, interpolation {interpolation}")
    return ClipPixels(size_px=size_px, resize_mode=mode, interpolation=interpolation)


def _unknown_transform(folder: Path, found: str) -> UserError:
    return UserError(
        "pictures can't be prepared for this CLIP in the same pass",
        where=folder,
        found=" ".join(found.split()),
        wanted="the shorter side resized and the centre cut out, or both sides resized",
        fix="Score the finished run instead: python -m recaption statistics RUN --scorers",
    )
