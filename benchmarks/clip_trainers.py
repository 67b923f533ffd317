"""A CLIP's trainers from tar to step, and their loaders alone, each in a process of its own.

    python -m benchmarks.clip_trainers WAY FOLDER SETTINGS

FOLDER holds `shards/` and `MODEL/published`; SETTINGS are a `Setting` as JSON.
"""

import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch
import webdataset

from benchmarks.own_process import Clock
from clip_train.architecture import build_model, model_config
from clip_train.config import ClipTrainConfig
from clip_train.contrastive import bound_logit_scale
from clip_train.model_files import ModelFile
from clip_train.presets import find_model
from clip_train.starting import start_from
from clip_train.text import open_tokenizer
from clip_train.train import build_source, build_task
from imagetext.mix import CaptionMixConfig
from imagetext.stream import DataConfig
from runtime.loop import LoopConfig, fit
from runtime.run import Run

_LEARNING_RATE, _WEIGHT_DECAY, _BETA2 = 1e-4, 0.2, 0.95
_CROP_AREA_MIN = 0.4


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is trained on, alike for all."""

    model: str
    """Name of the model's folder."""
    num_shards: int
    samples_per_shard: int
    batch_size: int
    image_size_px: int
    context_length: int
    reduced_decode: bool = False
    """Whether our loader decodes JPEGs no larger than needed."""

    @property
    def num_samples(self) -> int:
        """Return the samples of an epoch."""
        return self.num_shards * self.samples_per_shard

    def as_json(self) -> str:
        """Return the words for the command line."""
        return json.dumps(asdict(self))


def train_open_clip(folder: Path, setting: Setting) -> None:
    """Run open_clip's trainer for an epoch, and tell what the epoch took: neither its start nor its checkpoint."""
    import open_clip_train.main as trainer

    _let_it_read_tars()
    epoch = trainer.train_one_epoch

    def timed_epoch(*arguments: Any, **named: Any) -> None:
        clock = Clock.now()
        epoch(*arguments, **named)
        clock.tell(setting.num_samples)

    trainer.train_one_epoch = timed_epoch
    trainer.main(
        [
            *_their_arguments(folder, setting), "--precision", "amp_bf16", "--device", "cpu", "--epochs", "1",
            "--lr", str(_LEARNING_RATE), "--wd", str(_WEIGHT_DECAY), "--beta1", "0.9", "--beta2", str(_BETA2),
            "--eps", "1e-8", "--warmup", "1", "--logs", mkdtemp(dir=folder), "--log-every-n-steps", "1000",
        ]
    )  # fmt: skip


def load_open_clip(folder: Path, setting: Setting) -> None:
    """Tell what an epoch of open_clip's own loader takes."""
    import open_clip
    from open_clip_train.data import get_wds_dataset
    from open_clip_train.params import parse_args

    _let_it_read_tars()
    args = parse_args(_their_arguments(folder, setting))
    args.world_size = 1
    _, transform, _ = open_clip.create_model_and_transforms(args.model, aug_cfg=args.aug_cfg)
    data = get_wds_dataset(args, transform, is_train=True, tokenizer=open_clip.get_tokenizer(args.model))
    _tell_epoch(data.dataloader, setting)


def load_webdataset(folder: Path, setting: Setting) -> None:
    """Tell what an epoch of webdataset's plain pipeline takes, with open_clip's transform and tokenizer."""
    import open_clip

    name = f"local-dir:{folder / setting.model / 'published'}"
    _, transform, _ = open_clip.create_model_and_transforms(name, aug_cfg={"scale": (_CROP_AREA_MIN, 1.0)})
    tokenizer = open_clip.get_tokenizer(name)
    urls = [str(path) for path in sorted((folder / "shards").glob("*.tar"))]
    pipeline = webdataset.WebDataset(urls, shardshuffle=len(urls)).shuffle(setting.num_samples).decode("pilrgb")
    pairs = pipeline.to_tuple("jpg", "txt").map_tuple(transform, lambda text: tokenizer(text)[0])
    _tell_epoch(pairs.batched(setting.batch_size), setting)


def train_ours(folder: Path, setting: Setting) -> None:
    """Train for an epoch of updates, and tell what they took: neither the start nor the checkpoint."""
    config = _our_config(folder, setting)
    preset = find_model(config.model)
    assert isinstance(preset, ModelFile), "a model's JSON file"
    read = open_tokenizer(folder / setting.model / "words", preset, config.context_length)
    architecture = model_config(
        preset,
        image_size_px=config.image_size_px,
        vocab_size=read.tokenizer.vocab_size,
        context_length=config.context_length,
        end_id=read.end_id,
    )
    model = build_model(architecture, config.seed, narrow=False)
    start_from(model, folder / setting.model / "published")
    source, run = build_source(config, read.tokenizer), Run.open(config.output_dir, config)
    clock = Clock.now()

    def after_update(update: int, model: Any, ema: Any) -> Any:
        bound_logit_scale(update, model, ema)
        if update == config.loop.num_updates:
            clock.tell(setting.num_samples)
        return {}

    fit(
        task=build_task(config), model=model, source=source, config=config.loop, run=run, seed=0,
        on_update=after_update,
    )  # fmt: skip


def load_ours(folder: Path, setting: Setting) -> None:
    """Tell what an epoch of our loader takes, its shards opened anew and no picture kept."""
    config = _our_config(folder, setting)
    preset = find_model(config.model)
    tokenizer = open_tokenizer(folder / setting.model / "words", preset, config.context_length).tokenizer
    source = build_source(config, tokenizer)
    clock = Clock.now()
    updates = source.updates(0)
    for _ in range(config.loop.num_updates):
        next(updates)
    clock.tell(setting.num_samples)


WAYS: dict[str, Callable[[Path, Setting], None]] = {
    "train_open_clip": train_open_clip,
    "train_ours": train_ours,
    "load_open_clip": load_open_clip,
    "load_webdataset": load_webdataset,
    "load_ours": load_ours,
}


def _their_arguments(folder: Path, setting: Setting) -> list[str]:
    last = setting.num_shards - 1
    return [
        "--train-data", f"{folder}/shards/{{00000..{last:05d}}}.tar", "--dataset-type", "webdataset",
        "--train-num-samples", str(setting.num_samples), "--batch-size", str(setting.batch_size), "--workers", "0",
        "--model", f"local-dir:{folder / setting.model / 'published'}",
        "--aug-cfg", f"scale=({_CROP_AREA_MIN},1.0)",
    ]  # fmt: skip


def _let_it_read_tars() -> None:
    """Put webdataset's reader of tars in place of open_clip's, which wants webdataset 0.2 and does the same."""
    import open_clip_train.data as data

    if not webdataset.__version__.startswith("0."):
        data.tarfile_to_samples_nothrow = webdataset.tarfile_to_samples(handler=data.log_and_continue)


def _our_config(folder: Path, setting: Setting) -> ClipTrainConfig:
    loop = LoopConfig(
        num_updates=setting.num_samples // setting.batch_size, batch_size=setting.batch_size,
        learning_rate=_LEARNING_RATE, weight_decay=_WEIGHT_DECAY, beta2=_BETA2, warmup_updates=1, max_grad_norm=None,
        precision="bf16", device="cpu", wandb="off",
    )  # fmt: skip
    data = DataConfig(shards=folder / "shards", window_samples=setting.num_samples, cache_mib=0)
    if setting.reduced_decode:
        data = replace(data, decode_min_side_px=setting.image_size_px * 3 // 2)
    return ClipTrainConfig(
        output_dir=Path(mkdtemp(dir=folder)), data=data, mix=CaptionMixConfig(original_share=1.0),
        model=str(folder / setting.model / "model.json"), image_size_px=setting.image_size_px,
        crop_area_min=_CROP_AREA_MIN, context_length=setting.context_length, loop=loop,
    )  # fmt: skip


def _tell_epoch(batches: Iterable[Any], setting: Setting) -> None:
    clock, count = Clock.now(), 0
    for images, _ in batches:
        count += len(images)
    assert count == setting.num_samples, f"{count} samples were loaded"
    clock.tell(count)


def main() -> None:
    """Take one way."""
    torch.set_num_threads(1)
    way, folder, settings = sys.argv[1:]
    WAYS[way](Path(folder), Setting(**json.loads(settings)))


if __name__ == "__main__":
    main()
