"""Train one CLIP, in one stage or two, from a config to an export."""

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from clip_train.architecture import build_model, compile_blocks, model_config
from clip_train.card import model_card
from clip_train.compute import ClipCost
from clip_train.config import OPENAI_TOKENIZER, ClipTrainConfig
from clip_train.contrastive import ContrastiveTask, bound_logit_scale
from clip_train.epoch_checkpoint import FOLDER, write_epoch_checkpoint
from clip_train.export import export_model
from clip_train.plan import parameter_counts
from clip_train.presets import ModelPreset, find_model
from clip_train.starting import start_from
from clip_train.text import copy_tokenizer, open_tokenizer, train_tokenizer
from imagetext.loader import MixedLoader
from imagetext.shards import list_shards, read_shard
from imagetext.sidecars import read_sidecar
from imagetext.stream import DataConfig
from imagetext.tokenizers import TextTokenizer
from imagetext.transforms import random_resized_crop
from runtime.atomic import atomic_directory
from runtime.launch import have_made_once, is_main_process
from runtime.loop import fit
from runtime.run import NOT_IDENTITY, Run

TOKENIZER_FOLDER = "tokenizer"
"""Where a run keeps its tokenizer."""
_STAGE_EXCLUDES = (*NOT_IDENTITY, "plan")
_LOOP_PLACES = ("device", "wandb", "checkpoint_every_updates", "keep_last")
_FINETUNE_PLACES = tuple(f"finetune.loop.{name}" for name in _LOOP_PLACES)


def train(config: ClipTrainConfig) -> None:
    """Train the model that the config describes; continues a run that was stopped, leaves a finished one alone."""
    if config.finetune is None:
        train_stage(config)
        return
    run = Run.open(config.output_dir, config, identity_excludes=(*NOT_IDENTITY, "plan", *_FINETUNE_PLACES))
    if run.finished():
        return
    first, second = config.stages()
    train_stage(first)
    before = Run.open(first.output_dir, first, identity_excludes=_STAGE_EXCLUDES)
    train_stage(second, after=before)
    after = Run.open(second.output_dir, second, identity_excludes=_STAGE_EXCLUDES)
    if is_main_process():
        with atomic_directory(run.export) as partial:
            shutil.copytree(after.export, partial, dirs_exist_ok=True)
    run.finish(stages={"pretrain": before.facts(), "finetune": after.facts()})


def train_stage(config: ClipTrainConfig, after: Run | None = None) -> None:
    """Train one stage, from the weights and with the tokenizer of the stage before it where there is one."""
    run = Run.open(config.output_dir, config, identity_excludes=_STAGE_EXCLUDES)
    if run.finished():
        return
    preset = find_model(config.model)
    tokenizer_folder = after.folder / TOKENIZER_FOLDER if after else have_tokenizer(config, run)
    read = open_tokenizer(
        tokenizer_folder if config.tokenizer != OPENAI_TOKENIZER else None, preset, config.context_length
    )
    architecture = model_config(
        preset,
        image_size_px=config.image_size_px,
        vocab_size=read.tokenizer.vocab_size,
        context_length=config.context_length,
        end_id=read.end_id,
        own_tokenizer=read.folder is not None,
        sigmoid=config.loss == "sigmoid",
    )
    model = build_model(architecture, config.seed, narrow=isinstance(preset, ModelPreset))
    weights = config.start_from if after is None else after.export
    if weights is not None:
        start_from(model, weights)
    if config.compile_blocks:
        compile_blocks(model)
    source = build_source(config, read.tokenizer)
    result = fit(
        task=build_task(config),
        model=model,
        source=source,
        config=config.loop,
        run=run,
        seed=config.seed,
        learning_rate_multipliers=config.learning_rate_multipliers,
        workload=ClipCost(architecture).workload,
        on_update=bound_logit_scale,
    )
    # Each rank has counted what it served itself.
    source.load_state_dict(result.engine.gather_objects(source.state_dict()))
    if config.open_clip_checkpoint:
        num_epochs = max(1, config.loop.num_updates * config.loop.batch_size // source.num_samples)
        write_epoch_checkpoint(run.folder / FOLDER, result.engine, architecture, config.loop, num_epochs)
    published = result.engine.whole_weights(result.model.state_dict().items())
    if is_main_process():
        num_trained = sum(weight.numel() for weight in result.model.parameters() if weight.requires_grad)
        card = model_card(config, num_trained, parameter_counts(architecture), source.audit())
        export_model(published, preset, architecture, read.folder, run.export, card)
    run.finish(num_updates=result.num_updates, metrics=result.metrics, audit=source.audit())


def have_tokenizer(config: ClipTrainConfig, run: Run) -> Path | None:
    """Return the folder of the run's tokenizer, once it is there; None for the one that open_clip brings."""
    if config.tokenizer == OPENAI_TOKENIZER:
        return None
    folder = run.folder / TOKENIZER_FOLDER
    if config.tokenizer is None:
        captions = tokenizer_captions(config.tokenizer_data or config.data)
        make = partial(train_tokenizer, folder, find_model(config.model), captions, config.vocab_size)
    else:
        make = partial(copy_tokenizer, Path(config.tokenizer), folder)
    have_made_once(folder, make)
    return folder


def build_task(config: ClipTrainConfig) -> ContrastiveTask:
    """Return the loss of a stage."""
    preprocess = find_model(config.model).preprocess_cfg
    return ContrastiveTask(
        preprocess["mean"],
        preprocess["std"],
        loss=config.loss,
        several_captions=config.several_captions,
        duplicates_are_negatives=config.duplicates_are_negatives,
        sources=config.mix.recipes,
        # The miniature's results were made so; the paper's models run a quarter faster without.
        float32_attention=isinstance(find_model(config.model), ModelPreset),
    )


def build_source(config: ClipTrainConfig, tokenizer: TextTokenizer) -> MixedLoader:
    """Return the run's batches: random resized crops with chosen captions."""
    resampling = Image.Resampling[find_model(config.model).preprocess_cfg["interpolation"].upper()]

    def crop(image: Image.Image, generator: np.random.Generator) -> np.ndarray:
        return random_resized_crop(image, config.image_size_px, generator, config.crop_area_min, resampling)

    return MixedLoader(
        data=config.data,
        mix=config.mix,
        pictures=crop,
        tokenizer=tokenizer,
        seed=config.seed,
        batch_size=config.loop.batch_size,
        microbatch_size=config.loop.microbatch_size,
    )


def tokenizer_captions(data: DataConfig) -> Iterator[str]:
    """Yield every caption of the data, of each data set the shards' own first, then each sidecar's."""
    for one in data.shard_sets:
        shards = list_shards(one.shards)
        for shard in shards:
            yield from (sample.captions["original"] for sample in read_shard(shard, one.dataset_name))
        for folder in one.sidecars.values():
            for shard in shards:
                yield from (row.caption for row in read_sidecar(folder, shard.name).values() if row.caption)
