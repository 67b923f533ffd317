"""Training a CLIP on CPU beside open_clip 3.3.0: from JPEG tars to steps, the step alone, and the loader alone."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import open_clip
import torch
from open_clip.model import CLIP
from torch import Tensor

from benchmarks.clip_data import Shape, narrow_model, publish_untrained, write_shards
from benchmarks.clip_trainers import Setting
from benchmarks.own_process import run_way
from benchmarks.race import Bar, Contender, Result, bars_table, race, spread, table, timed
from clip_train.architecture import model_config
from clip_train.contrastive import ContrastiveTask, normalise_images
from imagetext.loader import ImageTextBatch
from runtime.loop_config import LoopConfig
from runtime.tables import markdown_table
from runtime.training import Training

ABOUT = """\
A CLIP of S/16's geometry, narrower, in bf16 autocast on one thread, batches and models alike for all. "padded" is the
model as the paper's was released: all 128 slots of a text are read. "masked" is its `-masked` variant, whose features
do not depend on padding; both trainers train both. One text in five is as long as a recaption, the others as alt-text.

*From tar to step*: an epoch of `open_clip_train.main` of open_clip_torch 3.3.0 and of `clip_train`, on the same JPEG
tars, from the same published weights with the same tokenizer, in one process that also loads; from the epoch's begin to
its last update, without start and checkpoint. Ours decodes JPEGs no smaller than 1.5 times the side that it trains on
and computes attention as plain products. *The step alone*: forward, softmax loss, backward and AdamW on tensors that
are there already; open_clip's model as it builds it, its `ClipLoss` and torch's AdamW, on images that are normalised,
ours on bytes that it normalises. *The loader alone*: an epoch from tar to batch; open_clip's `get_wds_dataset`, and
webdataset's plain pipeline with open_clip's transform and tokenizer. The tars lie in the page cache, and ours keeps no
decoded picture.

Every way runs on one core: a bar holds by the seconds of a core that a sample takes, which other work on the machine
disturbs least."""

_LEARNING_RATE = 1e-4
_END_ID = 102
THEIRS, OURS = "open_clip", "OpenRecap"
EPOCH_BARS = tuple(
    Bar(faster=f"{OURS}, {model}", slower=f"{THEIRS}, {model}", least=1.5) for model in ("padded", "masked")
)
STEP_BARS = (Bar(faster="padded", slower=THEIRS, least=1.0), Bar(faster="masked", slower=THEIRS, least=1.2))


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
    num_shards: int = 4
    samples_per_shard: int = 64
    jpeg_width_px: int = 512

    @property
    def shape(self) -> Shape:
        """Return the model's."""
        return Shape(
            width=self.width,
            layers=self.layers,
            image_size_px=self.image_size_px,
            context_length=self.context_length,
        )

    def setting(self, model: str) -> Setting:
        """Return what a process is told of a model's training."""
        return Setting(
            model=model,
            num_shards=self.num_shards,
            samples_per_shard=self.samples_per_shard,
            batch_size=self.batch_size,
            image_size_px=self.image_size_px,
            context_length=self.context_length,
        )


_TINY = {"width": 32, "layers": 1, "image_size_px": 32, "batch_size": 4, "num_updates": 1}
SIZES = {"full": Size(), "tiny": Size(**_TINY, num_shards=2, samples_per_shard=4, jpeg_width_px=64)}


def measure(size: Size, repeats: int) -> str:
    """Return the tables of all three comparisons."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_shards(folder / "shards", size.num_shards, size.samples_per_shard, size.jpeg_width_px)
        for model in ("padded", "masked"):
            (folder / model).mkdir()
            publish_untrained(folder / model, size.shape, model)
        epochs, loading = measure_epochs(folder, size, repeats), measure_loaders(folder, size, repeats)
    steps = measure_steps(size, repeats)
    shape = f"{size.width} wide, {size.layers} layers, {size.image_size_px} px, batches of {size.batch_size}"
    pictures = f"{size.num_shards} tars of {size.samples_per_shard} JPEGs, {size.jpeg_width_px} px wide"
    return (
        f"{shape}; {pictures}.\n\n## From tar to step\n\n{_section(epochs, EPOCH_BARS)}\n"
        f"## The step alone\n\n{_section(steps, STEP_BARS)}\n## The loader alone\n\n{_section(loading, ())}"
    )


def _section(results: Sequence[Result], bars: Sequence[Bar]) -> str:
    per_core = [
        [result.name, spread([1 / seconds for seconds in result.core_seconds], lambda value: f"{value:.4g}")]
        for result in results
    ]
    parts = [table(results, unit="samples"), markdown_table(["way", "samples / s of a core"], per_core)]
    if bars:
        parts.append(bars_table(results, bars, by_core=True))
    return "\n".join(parts)


def measure_epochs(folder: Path, size: Size, repeats: int) -> list[Result]:
    """Race both trainers on both models, from tar to step."""
    ours, theirs = "train_ours", "train_open_clip"
    ways = {}
    for model in ("padded", "masked"):
        setting = size.setting(model)
        ways[f"{THEIRS}, {model}"] = (theirs, setting)
        ways[f"{OURS}, {model}"] = (ours, replace(setting, reduced_decode=True))
    return _race_processes(folder, ways, repeats)


def measure_loaders(folder: Path, size: Size, repeats: int) -> list[Result]:
    """Race the loaders."""
    setting = size.setting("padded")
    ways = {
        THEIRS: ("load_open_clip", setting),
        "webdataset": ("load_webdataset", setting),
        OURS: ("load_ours", setting),
        f"{OURS}, decoding no larger than needed": ("load_ours", replace(setting, reduced_decode=True)),
    }
    return _race_processes(folder, ways, repeats)


def _race_processes(folder: Path, ways: dict[str, tuple[str, Setting]], repeats: int) -> list[Result]:
    used = [0.0]

    def contender(name: str) -> Contender:
        way, setting = ways[name]

        def seconds() -> float:
            took = run_way("benchmarks.clip_trainers", way, folder, setting.as_json())
            used[0] += took.cpu_seconds
            return took.seconds

        return Contender(name=name, seconds=seconds, num_items=setting.num_samples)

    return race([contender(name) for name in ways], repeats=repeats, warm_up=False, core_seconds=lambda: used[0])


def measure_steps(size: Size, repeats: int) -> list[Result]:
    """Race the steps on tensors."""
    batch = _batch(size)
    steps = {
        THEIRS: _plain_step(_their_model(_config(size, "padded")), batch),
        "padded": _own_step(_training(_config(size, "padded"), size), batch),
        "masked": _own_step(_training(_config(size, "masked"), size), batch),
    }

    def contender(name: str) -> Contender:
        def updates() -> None:
            for _ in range(size.num_updates):
                steps[name]()

        return Contender(name=name, seconds=lambda: timed(updates), num_items=size.batch_size * size.num_updates)

    return race([contender(name) for name in steps], repeats=repeats)


def _config(size: Size, variant: str) -> dict[str, Any]:
    model = narrow_model(size.shape, variant)
    return model_config(
        model,
        image_size_px=size.image_size_px,
        vocab_size=model.config["text_cfg"]["vocab_size"],
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
    task = ContrastiveTask(open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD, float32_attention=False)
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
