"""What both trainers of a CLIP are given: JPEG tars, and a directory of an untrained model that open_clip loads."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.pictures import draw_pairs
from clip_train.architecture import build_model, model_config
from clip_train.export import export_model
from clip_train.model_files import ModelFile, read_model_file
from clip_train.text import open_tokenizer, train_tokenizer
from imagetext.shards import ShardRow, make_key, write_shard
from miniweb.draw import encode

VARIANTS = {"padded": "", "masked": "-masked"}
"""The model as released, which reads all slots of a text, and the one that leaves padding out."""
_MODEL = "Recap-CLIP-S-16"
_HEAD_WIDTH = 32
_LONG_TEXT_CAPTIONS = 4
_LONG_SHARE = 5
"""One text in so many is as long as a recaption."""
_TOKENIZER_WORDS = 2000


@dataclass(frozen=True, kw_only=True)
class Shape:
    """How large a model of S/16's geometry is, and what it reads."""

    width: int
    layers: int
    image_size_px: int
    context_length: int


def narrow_model(shape: Shape, variant: str) -> ModelFile:
    """Return the paper's S/16 with narrower and fewer layers, and heads to fit."""
    model = read_model_file(f"{_MODEL}{VARIANTS[variant]}")
    assert model is not None, "the project's own model file"
    config: dict[str, Any] = json.loads(json.dumps(model.config))
    for tower in ("vision_cfg", "text_cfg"):
        config[tower] |= {"width": shape.width, "layers": shape.layers}
    config["vision_cfg"] |= {"head_width": _HEAD_WIDTH, "image_size": shape.image_size_px}
    config["text_cfg"] |= {"heads": shape.width // _HEAD_WIDTH, "context_length": shape.context_length}
    return ModelFile(file=model.file, config=config, preprocess={})


def write_shards(folder: Path, num_shards: int, samples_per_shard: int, width_px: int) -> None:
    """Write JPEG shards of drawn pictures, 4 to 3; one text in five is as long as a recaption."""
    pairs = enumerate(draw_pairs(num_shards * samples_per_shard, width_px, width_px * 3 // 4))
    captions: list[str] = []
    for shard in range(num_shards):
        rows = []
        for row, (index, pair) in zip(range(samples_per_shard), pairs):
            captions.append(pair.caption)
            is_long = index % _LONG_SHARE == 0
            text = " ".join(captions[-_LONG_TEXT_CAPTIONS:]) if is_long else pair.caption
            rows.append(ShardRow(key=make_key(shard, row), image=encode(pair.image), caption=text))
        write_shard(folder, shard, rows)


def publish_untrained(folder: Path, shape: Shape, variant: str) -> Path:
    """Write an open_clip directory of a model with its initial weights, and beside it `model.json`; return the former.

    Its tokenizer is trained here: the paper's is a download.
    """
    model = narrow_model(shape, variant)
    (folder / "model.json").write_text(json.dumps(dict(model.config)))
    model = ModelFile(file=folder / "model.json", config=model.config, preprocess={})
    train_tokenizer(folder / "words", model, _captions(), _TOKENIZER_WORDS)
    read = open_tokenizer(folder / "words", model, shape.context_length)
    config = model_config(
        model,
        image_size_px=shape.image_size_px,
        vocab_size=read.tokenizer.vocab_size,
        context_length=shape.context_length,
        end_id=read.end_id,
    )
    built = build_model(config, seed=0, narrow=False)
    # open_clip builds a config that names no kind of block as it trains by itself.
    for tower in ("vision_cfg", "text_cfg"):
        del config[tower]["block_type"]
    export_model(built.state_dict(), model, config, folder / "words", folder / "published")
    return folder / "published"


def _captions() -> Iterator[str]:
    return (pair.caption for pair in draw_pairs(200, 32, 24))
