"""What a run will cost: parameters, updates, FLOPs, hours and memory, reckoned with neither data nor weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from open_clip.model import CLIP

from clip_train.architecture import model_config
from clip_train.compute import ClipCost
from clip_train.config import ClipTrainConfig
from clip_train.losses import SLICE_PAIRS
from clip_train.memory import Memory, reckon
from clip_train.model_files import ModelFile
from clip_train.presets import find_model
from clip_train.text_tower import config_sees_padding
from runtime.errors import UserError
from runtime.hardware import ACCELERATORS
from runtime.tables import markdown_table

_GIB, _GIGA, _EXA = 2**30, 1e9, 1e18
_SECONDS_PER_HOUR = 3600
_FLOAT_BYTES = 4


@dataclass(frozen=True, kw_only=True)
class StagePlan:
    """What one stage costs."""

    config: ClipTrainConfig
    num_samples: int
    flops_per_sample: int | float
    """Useful operations of one sample's forward and backward pass."""
    microbatch_size: int
    memory: Memory
    hours: float
    """On all of the plan's devices at its MFU."""


def plan_stage(config: ClipTrainConfig) -> StagePlan:
    """Return what a run of one stage costs."""
    architecture, plan, loop = architecture_of(config), config.plan, config.loop
    unit = plan.num_gpus * (loop.microbatch_size or 1)
    if loop.batch_size % unit:
        wanted = f"a multiple of {unit} (the plan's {plan.num_gpus} GPUs x microbatches of {loop.microbatch_size or 1})"
        raise UserError("does not divide over the GPUs", where="batch_size", found=loop.batch_size, wanted=wanted)
    num_samples = loop.num_updates * loop.batch_size
    num_captions = 1 + len(config.mix.also)
    flops = ClipCost(architecture).training_flops(plan.caption_tokens, num_captions)
    speed = plan.num_gpus * plan.mfu * ACCELERATORS[plan.gpu].bf16_flops_per_second
    microbatch_size = loop.microbatch_size or loop.batch_size // plan.num_gpus
    memory = reckon(
        architecture,
        batch_size=loop.batch_size,
        microbatch_size=microbatch_size,
        slice_bytes=min(SLICE_PAIRS, num_captions * loop.batch_size**2) * _FLOAT_BYTES,
        num_captions=num_captions,
        num_shares=1 if loop.sharding == "none" else plan.num_gpus,
    )
    return StagePlan(
        config=config,
        num_samples=num_samples,
        flops_per_sample=flops,
        microbatch_size=microbatch_size,
        memory=memory,
        hours=num_samples * flops / speed / _SECONDS_PER_HOUR,
    )


def architecture_of(config: ClipTrainConfig) -> dict[str, Any]:
    """Return open_clip's `model_cfg` of a run of one stage, with the largest word table that its tokenizer may have."""
    preset = find_model(config.model)
    return model_config(
        preset,
        image_size_px=config.image_size_px,
        # A model file says itself how many rows it has, which may be fewer than the largest trained vocabulary.
        vocab_size=1 if isinstance(preset, ModelFile) else config.vocab_size,
        context_length=config.context_length,
        sigmoid=config.loss == "sigmoid",
    )


def describe(config: ClipTrainConfig) -> str:
    """Return the whole plan as Markdown."""
    stages = [plan_stage(stage) for stage in config.stages()]
    return "\n".join([_parameters_section(config), _work_section(config, stages), _memory_section(config, stages)])


def parameter_counts(architecture: dict[str, Any]) -> dict[str, int]:
    """Return the number of parameters that train: vision, text, and in all."""
    with torch.device("meta"):
        model = CLIP(**architecture)
    vision = sum(weight.numel() for weight in model.visual.parameters() if weight.requires_grad)
    total = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    return {"vision tower": vision, "text tower": total - vision, "in all": total}


def _parameters_section(config: ClipTrainConfig) -> str:
    counts = parameter_counts(architecture_of(config.stages()[-1]))
    return f"## Parameters of {config.model}\n\n" + markdown_table(
        ["part", "parameters"], [[name, f"{number:,}"] for name, number in counts.items()]
    )


def _work_section(config: ClipTrainConfig, stages: Sequence[StagePlan]) -> str:
    plan = config.plan
    rows = []
    for stage in stages:
        loop = stage.config.loop
        rows.append(
            [
                f"{stage.config.image_size_px} px",
                f"{loop.num_updates:,}",
                f"{loop.batch_size:,}",
                f"{stage.num_samples:,}",
                f"{loop.warmup_updates * loop.batch_size:,}",
                f"{loop.learning_rate:g}",
                f"{stage.flops_per_sample / _GIGA:.1f}",
                f"{stage.num_samples * stage.flops_per_sample / _EXA:,.0f}",
                f"{stage.hours:,.1f}",
                f"{stage.hours * plan.num_gpus:,.0f}",
            ]
        )
    headers = ["stage", "updates", "batch", "samples", "warm-up samples", "peak rate", "GFLOP a sample", "EFLOP"]
    all_hours = sum(stage.hours for stage in stages)
    padded = config_sees_padding(architecture_of(stages[0].config)["text_cfg"])
    what = "all slots of the context" if padded else f"captions of {plan.caption_tokens:g} tokens on average"
    return (
        f"\n## Work\n\nOn {plan.num_gpus} {plan.gpu} at {plan.mfu:.0%} of their peak, reckoned with {what}; "
        f"{all_hours:,.1f} hours in all.\n\n" + markdown_table([*headers, "hours", "device hours"], rows)
    )


def _memory_section(config: ClipTrainConfig, stages: Sequence[StagePlan]) -> str:
    accelerator = ACCELERATORS[config.plan.gpu]
    rows = []
    for stage in stages:
        memory = stage.memory
        numbers = [memory.weights, memory.activations, memory.features, memory.total]
        share = f"{memory.total / accelerator.memory_bytes:.0%}"
        size = f"{stage.config.image_size_px} px"
        rows.append([size, f"{stage.microbatch_size:,}", *(f"{one / _GIB:.1f}" for one in numbers), share])
    held = "whole on each" if config.loop.sharding == "none" else "shared out, two blocks gathered at a time"
    headers = ["stage", "microbatch", "weights", "activations", "features", "in all", f"of {config.plan.gpu}"]
    return (
        f"\n## Memory\n\nGiB on each device, weights {held}; activations are what autograd keeps of one "
        "microbatch in bf16, counted on a model without weights. Keep a tenth of the device free; a smaller "
        "`loop.microbatch_size` leaves the gradient as it is.\n\n" + markdown_table(headers, rows)
    )
