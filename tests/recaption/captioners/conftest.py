"""A tiny captioner behind the seam, and pictures to ask it about."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from recaption.captioners.opening import open_captioner
from recaption.captioners.transformers_captioner import TransformersCaptioner
from recaption.config import RecaptionConfig


def picture(seed: int, size: tuple[int, int] = (24, 20)) -> Image.Image:
    """Return a picture of one colour under noise: noise alone looks the same to a small model everywhere."""
    generator = np.random.default_rng(seed)
    colour, noise = generator.choice([20, 235], 3), generator.integers(-20, 20, (size[1], size[0], 3))
    return Image.fromarray((colour + noise).astype(np.uint8))


def config(model: Path, **fields: object) -> RecaptionConfig:
    defaults = {"max_new_tokens": 12, "batch_size": 4, "device": "cpu", "precision": "fp32", "shards": "shards"}
    return RecaptionConfig(model=model, output_dir=Path("side"), **{**defaults, **fields})  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def captioner(model: Path) -> TransformersCaptioner:
    opened = open_captioner(config(model))
    assert isinstance(opened, TransformersCaptioner)
    return opened
