"""Train one CLIP from a config to an export."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from clip_train.architecture import build_model, model_config
from clip_train.config import ClipTrainConfig
from clip_train.contrastive import ContrastiveTask, bound_logit_scale
from clip_train.export import export_model
from clip_train.presets import find_preset
from clip_train.text import read_tokenizer, train_tokenizer
from imagetext.loader import MixedLoader
from imagetext.shards import list_shards, read_shard
from imagetext.sidecars import read_sidecar
from imagetext.stream import DataConfig
from imagetext.tokenizers import TextTokenizer
from imagetext.transforms import random_resized_crop
from runtime.launch import have_made_once, is_main_process
from runtime.loop import fit
from runtime.run import Run


def train(config: ClipTrainConfig) -> None:
    """Train the model that the config describes; continues a run that was stopped, leaves a finished one alone."""
    run = Run.open(config.output_dir, config)
    if run.finished():
        return
    preset = find_preset(config.model)
    tokenizer_folder = run.folder / "tokenizer"
    captions = tokenizer_captions(config.tokenizer_data or config.data)
    make = partial(train_tokenizer, tokenizer_folder, preset, captions, config.vocab_size)
    have_made_once(tokenizer_folder, make)
    tokenizer = read_tokenizer(tokenizer_folder, config.context_length)
    architecture = model_config(
        preset,
        image_size_px=config.image_size_px,
        vocab_size=tokenizer.vocab_size,
        context_length=config.context_length,
    )
    source = build_source(config, tokenizer)
    result = fit(
        task=ContrastiveTask(preset.image_mean, preset.image_std),
        model=build_model(architecture, config.seed),
        source=source,
        config=config.loop,
        run=run,
        seed=config.seed,
        learning_rate_multipliers=config.learning_rate_multipliers,
        on_update=bound_logit_scale,
    )
    if is_main_process():
        export_model(result.model, preset, architecture, tokenizer_folder, run.export)
    run.finish(num_updates=result.num_updates, metrics=result.metrics, audit=source.audit())


def build_source(config: ClipTrainConfig, tokenizer: TextTokenizer) -> MixedLoader:
    """Return the run's batches: random resized crops with chosen captions."""

    def crop(image: Image.Image, generator: np.random.Generator) -> np.ndarray:
        return random_resized_crop(image, config.image_size_px, generator, config.crop_area_min)

    return MixedLoader(
        data=config.data,
        mix=config.mix,
        transform=crop,
        tokenizer=tokenizer,
        seed=config.seed,
        batch_size=config.loop.batch_size,
        microbatch_size=config.loop.microbatch_size,
    )


def tokenizer_captions(data: DataConfig) -> Iterator[str]:
    """Yield every caption of the data, the shards' own first, then each sidecar's."""
    shards = list_shards(data.shards)
    for shard in shards:
        yield from (sample.captions["original"] for sample in read_shard(shard, Path(data.shards).name))
    for folder in data.sidecars.values():
        for shard in shards:
            yield from (row.caption for row in read_sidecar(folder, shard.name).values() if row.caption)
