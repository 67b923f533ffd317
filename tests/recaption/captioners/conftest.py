"""A tiny captioner behind the seam, and pictures to ask it about."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from recaption.captioners.opening import open_captioner
from recaption.captioners.transformers_captioner import TransformersCaptioner
from recaption.config import RecaptionConfig


def picture(seed: int, size: tuple[int, int] = (24, 20)) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def config(model: Path, **fields: object) -> RecaptionConfig:
    defaults = {"max_new_tokens": 12, "batch_size": 4, "device": "cpu", "precision": "fp32", "shards": "shards"}
    return RecaptionConfig(model=model, output_dir=Path("side"), **{**defaults, **fields})  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def captioner(model: Path) -> TransformersCaptioner:
    opened = open_captioner(config(model))
    assert isinstance(opened, TransformersCaptioner)
    return opened
