"""Reading samples together with their truth: shards whose JSON holds the scene graph."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from imagetext.decode import decode
from imagetext.shards import list_shards, read_shard
from imagetext.transforms import resize_center_crop
from miniweb.scene import Scene
from runtime.errors import UserError


@dataclass(frozen=True)
class TrueSample:
    """One sample with its original caption and its scene."""

    shard: str
    key: str
    image: bytes
    original: str
    sha256: str | None
    scene: Scene


def read_true_samples(folder: Path, limit: int | None = None) -> list[TrueSample]:
    """Read a split's samples in shard order; raises UserError where a sample has no scene."""
    samples: list[TrueSample] = []
    for shard in list_shards(folder):
        for sample in read_shard(shard, folder.name):
            if limit is not None and len(samples) >= limit:
                return samples
            record = sample.metadata.get("scene")
            if not isinstance(record, dict):
                raise UserError(
                    "a sample without its scene", where=f"{shard.tar}: {sample.key}", wanted="scene in .json"
                )
            original = sample.captions.get("original", "")
            scene = Scene.from_json(record)
            samples.append(TrueSample(shard.name, sample.key, sample.image, original, sample.sha256, scene))
    return samples


def pixels_of(encoded: bytes, size_px: int) -> UInt8[np.ndarray, "channel height width"]:
    """Decode an image to the central square at the given size."""
    return np.asarray(resize_center_crop(decode(encoded), size_px))
