"""Training a judge on true renders."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from torch.nn import functional

from eval.config import JudgeConfig
from eval.judge_network import HEADS, IMAGE_SIZE_PX, MAP_CELLS, SIZES, Judge, JudgeName, build_judge
from miniweb.catalogue import BACKGROUNDS, COLOURS, KINDS, SPECIES_BY_NAME
from miniweb.scene import Scene
from runtime import seeds

EMPTY = -1
CLASSES = {"kind": tuple(KINDS), "species": tuple(SPECIES_BY_NAME), "colour": tuple(COLOURS), "size": SIZES}
_BLUR_SIZES_PX = (28, 36, 48)
"""Half of the batches are shrunk to one of these sizes and enlarged again: generated pictures are that blurred."""

RISING_SHARE = 0.1 + 1e-6
"""Share of updates over which the learning rate rises. At exactly a tenth, ten updates make PyTorch's schedule divide
by the length of no rise at all."""


class Targets:
    """What the judge should answer: per-cell classes, places and the background, for many scenes."""

    def __init__(self, scenes: Sequence[Scene]) -> None:
        """Write each scene's things into the cells of their centres."""
        shape = (len(scenes), MAP_CELLS, MAP_CELLS)
        self.place = np.zeros((len(scenes), HEADS["place"], MAP_CELLS, MAP_CELLS), dtype=np.float32)
        self.classes = {head: np.full(shape, EMPTY, dtype=np.int64) for head in CLASSES}
        names = tuple(BACKGROUNDS)
        self.background = np.array([names.index(scene.background) for scene in scenes], dtype=np.int64)
        for index, scene in enumerate(scenes):
            self._write(index, scene)

    def _write(self, index: int, scene: Scene) -> None:
        for thing in scene.things:
            column, row = (min(int(part * MAP_CELLS), MAP_CELLS - 1) for part in (thing.x, thing.y))
            self.place[index, :, row, column] = (thing.x * MAP_CELLS - column, thing.y * MAP_CELLS - row, thing.scale)
            for head, names in CLASSES.items():
                self.classes[head][index, row, column] = names.index(getattr(thing, head))


def train_judge(
    name: JudgeName,
    images: UInt8[np.ndarray, "render channel height width"],
    scenes: Sequence[Scene],
    config: JudgeConfig,
) -> Judge:
    """Train a judge from scratch; the same renders and settings give the same judge."""
    targets = Targets(scenes)
    torch.manual_seed(seeds.derive("judge", name))
    judge = build_judge(name).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(judge.parameters(), lr=config.learning_rate, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.learning_rate, total_steps=config.num_updates, pct_start=RISING_SHARE
    )
    judge.train()
    for update in range(config.num_updates):
        generator = seeds.numpy_generator("judge", name, update)
        chosen = generator.choice(len(images), size=min(config.batch_size, len(images)), replace=False)
        pixels = _augment(to_input(images[chosen]), generator)
        with torch.autocast("cpu", torch.bfloat16):
            outputs = judge(pixels)
        loss = judge_loss({head: output.float() for head, output in outputs.items()}, targets, chosen)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(judge.parameters(), 5.0)
        optimizer.step()
        schedule.step()
    return judge.eval()


def judge_loss(outputs: dict[str, Tensor], targets: Targets, chosen: Int[np.ndarray, " batch"]) -> Float[Tensor, ""]:
    """Add the losses of presence (all cells), place and classes (cells with a thing) and background."""
    kinds = torch.from_numpy(targets.classes["kind"][chosen])
    occupied = kinds != EMPTY
    presence = functional.binary_cross_entropy_with_logits(
        outputs["presence"][:, 0], occupied.float(), pos_weight=torch.tensor(4.0)
    )
    place = torch.from_numpy(targets.place[chosen])
    distance = functional.smooth_l1_loss(outputs["place"], place, reduction="none").sum(dim=1)[occupied].mean()
    classes = [
        functional.cross_entropy(outputs[head], torch.from_numpy(targets.classes[head][chosen]), ignore_index=EMPTY)
        for head in CLASSES
    ]
    background = functional.cross_entropy(outputs["background"], torch.from_numpy(targets.background[chosen]))
    return 5.0 * presence + distance + sum(classes, torch.zeros(())) + background


def to_input(
    images: UInt8[np.ndarray, "batch channel height width"],
) -> Float[Tensor, "batch channel side side"]:
    """Scale bytes to [-1, 1] at the judges' size."""
    pixels = torch.from_numpy(images).float().div(127.5).sub(1.0)
    if pixels.shape[-1] != IMAGE_SIZE_PX:
        size = (IMAGE_SIZE_PX, IMAGE_SIZE_PX)
        pixels = functional.interpolate(pixels, size=size, mode="bilinear", antialias=True, align_corners=False)
    return pixels.contiguous(memory_format=torch.channels_last)


def _augment(pixels: Tensor, generator: np.random.Generator) -> Tensor:
    if generator.random() < 0.5:
        size = int(generator.choice(_BLUR_SIZES_PX))
        small = functional.interpolate(pixels, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
        pixels = functional.interpolate(small, size=(IMAGE_SIZE_PX,) * 2, mode="bilinear", align_corners=False)
    noise = seeds.torch_generator(int(generator.integers(1 << 30)), "judge noise")
    return pixels + 0.1 * float(generator.random()) * torch.randn(pixels.shape, generator=noise)
