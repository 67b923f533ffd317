"""A CLIP's training step on CPU: open_clip's model and loss in a plain loop, beside this project's engine."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import open_clip
import torch
from open_clip.model import CLIP
from torch import Tensor

from benchmarks.race import Contender, race, table, timed
from clip_train.architecture import model_config
from clip_train.contrastive import ContrastiveTask, normalise_images
from clip_train.model_files import ModelFile, read_model_file
from imagetext.loader import ImageTextBatch
from runtime.loop_config import LoopConfig
from runtime.training import Training

ABOUT = """\
One update of a CLIP of S/16's geometry, narrower, on precomputed tensors: forward, softmax loss, backward, AdamW, in
bf16 autocast on one thread. "open_clip" is its model as it builds it (`nn.MultiheadAttention`), its `ClipLoss` and
torch's AdamW, stepped as `open_clip_train` does, on images that are normalised already; it clips no gradients, and
neither do we here. "padded" is `clip_train` with the same model and text, on bytes that it normalises; "masked" the
same with the `-masked` text tower, which leaves padding out and so is another model. One text in five is as long as a
recaption, 50 to 80 tokens, the others as alt-text, 6 to 20, in 128 slots. Loading is measured apart, by `loading`."""

_LEARNING_RATE = 1e-4
_END_ID = 102


@dataclass(frozen=True, kw_only=True)
class Size:
    """What is computed."""

    width: int = 192
    layers: int = 6
    image_size_px: int = 112
    context_length: int = 128
    batch_size: int = 64
    long_share: float = 0.2
    num_updates: int = 2


SIZES = {"full": Size(), "tiny": Size(width=32, layers=1, image_size_px=32, batch_size=4, num_updates=1)}


def measure(size: Size, repeats: int) -> str:
    """Return the table of samples a second in each way."""
    batch = _batch(size)
    steps = {
        "open_clip": _plain_step(_their_model(_config(size, "")), batch),
        "padded": _own_step(_training(_config(size, ""), size), batch),
        "masked": _own_step(_training(_config(size, "-masked"), size), batch),
    }

    def contender(name: str) -> Contender:
        def updates() -> None:
            for _ in range(size.num_updates):
                steps[name]()

        return Contender(name=name, seconds=lambda: timed(updates), num_items=size.batch_size * size.num_updates)

    shape = f"{size.width} wide, {size.layers} layers, {size.image_size_px} px, batches of {size.batch_size}"
    return f"{shape}:\n\n{table(race([contender(name) for name in steps], repeats=repeats), unit='samples')}"


def _config(size: Size, variant: str) -> dict[str, Any]:
    model = read_model_file(f"Recap-CLIP-S-16{variant}")
    assert model is not None, "the project's own model file"
    config = json.loads(json.dumps(model.config))
    for tower in ("vision_cfg", "text_cfg"):
        config[tower] |= {"width": size.width, "layers": size.layers}
    config["vision_cfg"] |= {"head_width": 32}
    config["text_cfg"] |= {"heads": size.width // 32}
    return model_config(
        ModelFile(file=model.file, config=config, preprocess={}),
        image_size_px=size.image_size_px,
        vocab_size=config["text_cfg"]["vocab_size"],
        context_length=size.context_length,
        end_id=_END_ID,
    )


def _batch(size: Size) -> ImageTextBatch:
    generator = torch.Generator().manual_seed(0)
    count = size.batch_size
    is_long = torch.arange(count) < round(size.long_share * count)
    drawn = torch.rand(count, generator=generator)
    lengths = torch.where(is_long, 50 + 30 * drawn, 6 + 14 * drawn).long()
    ids = torch.randint(1000, 30_000, (count, size.context_length), generator=generator)
    ids[torch.arange(size.context_length) >= lengths[:, None]] = 0
    ids[torch.arange(count), lengths - 1] = _END_ID
    pixels = (count, 3, size.image_size_px, size.image_size_px)
    return ImageTextBatch(
        keys=tuple(map(str, range(count))),
        positions=tuple(range(count)),
        images=torch.randint(0, 256, pixels, generator=generator, dtype=torch.uint8),
        token_ids=ids,
        token_lengths=lengths,
        truncated=torch.zeros(count, dtype=torch.bool),
        sources=("original",) * count,
        texts=("",) * count,
    )


def _training(config: dict[str, Any], size: Size) -> Training:
    task = ContrastiveTask(open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    loop = LoopConfig(
        num_updates=10**6,
        batch_size=size.batch_size,
        learning_rate=_LEARNING_RATE,
        schedule="constant",
        weight_decay=0.2,
        max_grad_norm=None,
        precision="bf16",
        device="cpu",
        wandb="off",
    )
    return Training(task, CLIP(**config, output_dict=True), loop, 0, {})


def _own_step(training: Training, batch: ImageTextBatch) -> Callable[[], object]:
    return lambda: training.update(0, [batch])


def _their_model(config: dict[str, Any]) -> CLIP:
    theirs = json.loads(json.dumps(config))
    for tower in ("vision_cfg", "text_cfg"):
        del theirs[tower]["block_type"]
    return CLIP(**theirs, output_dict=True).train()


def _plain_step(model: CLIP, batch: ImageTextBatch) -> Callable[[], Tensor]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=_LEARNING_RATE, weight_decay=0.2)
    loss = open_clip.ClipLoss()
    images = normalise_images(batch.images, open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)

    def step() -> Tensor:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            total: Tensor = loss(**model(images, batch.token_ids))
        total.backward()
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, 4.6052)
        return total

    return step
