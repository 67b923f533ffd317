"""One tiny captioner, and a shard with every kind of row."""

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from imagetext.shards import ShardRow, make_key, write_shard
from tests.llava_train import tiny


def jpeg(seed: int, size: tuple[int, int] = (24, 20)) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


def row(shard_index: int, row_index: int, image: bytes | None, **fields: Any) -> ShardRow:
    key = make_key(shard_index, row_index)
    metadata: dict[str, object] = {
        "uid": f"uid-{key}",
        "url": f"http://images.test/{key}.jpg",
        "sha256": f"recorded-{key}",
    }
    return ShardRow(key=key, image=image, extension="jpg", caption=f"alt {key}", metadata=metadata, **fields)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_captioner(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def talkative(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The captioner with a language model drawn at random: captions of many lengths, another for every picture."""
    folder = tmp_path_factory.mktemp("talkative") / "model"
    shutil.copytree(model, folder)
    weights = load_file(folder / "model.safetensors")
    stop_ids = json.loads((folder / "generation_config.json").read_text())["eos_token_id"]
    generator = torch.Generator().manual_seed(0)
    for name, weight in weights.items():
        if name.startswith("language_model") and weight.ndim == 2:
            weight.copy_(0.3 * torch.randn(weight.shape, generator=generator))
    weights["language_model.lm_head.weight"][stop_ids] *= 1.5
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three shards of seven rows: five good images, one truncated, one that was never downloaded."""
    folder = tmp_path_factory.mktemp("shards")
    for shard_index in range(3):
        rows = [row(shard_index, index, jpeg(10 * shard_index + index)) for index in range(5)]
        rows.insert(2, row(shard_index, 5, jpeg(99)[:150]))
        failed = {"status": "failed_to_download", "error_message": "HTTP 404"}
        rows.append(row(shard_index, 6, None, **failed))
        write_shard(folder, shard_index, rows)
    assert json.loads((folder / "00000_stats.json").read_text())["successes"] == 6
    return folder
