"""Small pictures and shards for the tests of this package."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from imagetext.shards import Shard, ShardRow, make_key, write_shard


def picture(seed: int, width: int = 24, height: int = 16) -> Image.Image:
    """Return a picture of smooth colour that depends on the seed."""
    corner = np.random.default_rng(seed).integers(0, 255, (2, 2, 3), dtype=np.uint8)
    return Image.fromarray(corner).resize((width, height), Image.Resampling.BILINEAR)


def encoded(image: Image.Image, image_format: str = "JPEG", **options: object) -> bytes:
    """Return the picture as a file's bytes."""
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def row(shard_index: int, row_index: int, **changes: object) -> ShardRow:
    """Return a good row with its own picture and caption."""
    seed = 1000 * shard_index + row_index
    fields: dict[str, object] = {
        "key": make_key(shard_index, row_index),
        "image": encoded(picture(seed)),
        "caption": f"alt text {seed}",
        "metadata": {"uid": f"u{seed}", "url": f"http://example.org/{seed}.jpg"},
    }
    return ShardRow(**{**fields, **changes})


def write_shards(folder: Path, sizes: Sequence[int]) -> list[Shard]:
    """Write one good shard per size."""
    return [write_shard(folder, i, [row(i, j) for j in range(size)]) for i, size in enumerate(sizes)]
