"""One update of a CLIP on tensors that are there already: this engine, and open_clip's model in a plain loop."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import open_clip
import torch
from open_clip.model import CLIP
from torch import Tensor

from clip_train.contrastive import ContrastiveTask, normalise_images
from imagetext.loader import ImageTextBatch
from runtime.loop_config import LoopConfig
from runtime.training import Training

END_ID = 102
"""Id that ends a text."""
_LEARNING_RATE, _WEIGHT_DECAY = 1e-4, 0.2
_MEAN, _STD = open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD
_LONG_SHARE = 0.2
_FIRST_WORD, _NUM_WORDS = 1000, 29_000
_MAX_LOG_SCALE = 4.6052


def mixed_batch(batch_size: int, image_size_px: int, context_length: int, *, mixed: bool = True) -> ImageTextBatch:
    """Return random pictures and texts: one in five as long as a recaption (50 to 80 tokens), the others as alt-text.

    No text is longer than the context; without `mixed` all fill it.
    """
    generator = torch.Generator().manual_seed(0)
    is_long = torch.arange(batch_size) < round(_LONG_SHARE * batch_size)
    drawn = torch.rand(batch_size, generator=generator)
    lengths = torch.where(is_long, 50 + 30 * drawn, 6 + 14 * drawn).long().clamp(max=context_length)
    if not mixed:
        lengths = torch.full_like(lengths, context_length)
    ids = torch.randint(_FIRST_WORD, _FIRST_WORD + _NUM_WORDS, (batch_size, context_length), generator=generator)
    ids[torch.arange(context_length) >= lengths[:, None]] = 0
    ids[torch.arange(batch_size), lengths - 1] = END_ID
    pixels = (batch_size, 3, image_size_px, image_size_px)
    return ImageTextBatch(
        keys=tuple(map(str, range(batch_size))),
        positions=tuple(range(batch_size)),
        images=torch.randint(0, 256, pixels, generator=generator, dtype=torch.uint8),
        token_ids=ids,
        token_lengths=lengths,
        truncated=torch.zeros(batch_size, dtype=torch.bool),
        sources=("original",) * batch_size,
        texts=("",) * batch_size,
    )


def own_training(model: CLIP, batch_size: int, device: str = "cpu") -> Training:
    """Return the model in this project's engine, in bf16."""
    loop = LoopConfig(
        num_updates=10**6,
        batch_size=batch_size,
        learning_rate=_LEARNING_RATE,
        schedule="constant",
        weight_decay=_WEIGHT_DECAY,
        max_grad_norm=None,
        precision="bf16",
        device="cuda" if device == "cuda" else "cpu",
        wandb="off",
    )
    return Training(ContrastiveTask(_MEAN, _STD, float32_attention=False), model, loop, 0, {})


def own_step(training: Training, batch: ImageTextBatch) -> Callable[[], object]:
    """Return an update of ours, on bytes that it brings to the device and normalises."""
    return lambda: training.update(0, [batch])


def their_model(config: Mapping[str, Any]) -> CLIP:
    """Return the model as open_clip builds it where a config names no kind of block."""
    theirs = json.loads(json.dumps(dict(config)))
    for tower in ("vision_cfg", "text_cfg"):
        theirs[tower].pop("block_type", None)
    return CLIP(**theirs, output_dict=True).train()


def their_step(model: CLIP, batch: ImageTextBatch) -> Callable[[], Tensor]:
    """Return an update as `open_clip_train` takes it, on normalised images that are on the device already."""
    device = next(model.parameters()).device
    optimizer = torch.optim.AdamW(model.parameters(), lr=_LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
    loss = open_clip.ClipLoss()
    images, ids = normalise_images(batch.images, _MEAN, _STD).to(device), batch.token_ids.to(device)

    def step() -> Tensor:
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16):
            total: Tensor = loss(**model(images, ids))
        total.backward()
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, _MAX_LOG_SCALE)
        return total

    return step
