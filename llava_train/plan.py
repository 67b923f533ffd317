"""What a run will cost, before it runs: parameters, memory and hours, reckoned on a model without weights.

Nothing is downloaded and no weight is made: shapes come from `llava_train.geometry`, the model is built on torch's meta
device, and every phase's frozen parts and adapters are put on it as training would.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch import nn

from llava_train.compute import CaptionerCost, Content, Work
from llava_train.config import FineTuneConfig, PhaseConfig, PhaseName
from llava_train.geometry import captioner_shape, language_shape, on_meta
from llava_train.lora import add_adapters
from llava_train.memory import Memory, Microbatch, host_bytes, phase_memory
from llava_train.parts import language_config, num_image_tokens
from llava_train.phases import freeze
from llava_train.plan_config import Lengths
from runtime.errors import UserError
from runtime.hardware import ACCELERATORS
from runtime.tables import markdown_table

_GIB = 2**30
_TERA = 1e12
_SECONDS_PER_HOUR = 3600


@dataclass(frozen=True, kw_only=True)
class PhasePlan:
    """What one phase costs."""

    name: PhaseName
    num_trained: int
    """Parameters that move, adapters included."""
    num_samples: int
    """Samples over all updates."""
    content: Content
    """An average sample."""
    work: Work
    """Its useful FLOPs."""
    memory: Memory
    """Of one GPU."""
    host_bytes: float
    """Most that each process holds of its own in host memory while the phase starts."""
    hours: float
    """On all GPUs of the plan at its MFU."""


def parameter_counts(config: FineTuneConfig) -> dict[str, int]:
    """Return the number of parameters of each part and in all, and of the language model as it comes."""
    llava = on_meta(captioner_shape(config))
    parts = {
        "vision tower": llava.model.vision_tower,
        "projector": llava.model.multi_modal_projector,
        "language model": nn.ModuleList([llava.model.language_model, llava.lm_head]),
    }
    counts = {name: _count(part) for name, part in parts.items()}
    added = language_config(llava).vocab_size - language_shape(config).vocab_size
    tables = 1 if language_config(llava).tie_word_embeddings else 2
    as_it_comes = counts["language model"] - added * tables * language_config(llava).hidden_size
    return {**counts, "in all": sum(counts.values()), "language model as it comes": as_it_comes}


def plan_phase(config: FineTuneConfig, name: PhaseName) -> PhasePlan:
    """Return what one phase costs, each reckoned on a fresh model without weights."""
    phase, lengths = config.phase(name), getattr(config.plan, name)
    llava = on_meta(captioner_shape(config))
    freeze(llava, phase)
    if phase.lora is not None:
        with torch.device("meta"):
            add_adapters(llava, phase.lora, seed=0)
    content = _average(lengths, num_image_tokens(llava))
    work = CaptionerCost(llava).of(content)
    num_samples = phase.loop.num_updates * phase.loop.batch_size
    speed = config.plan.num_gpus * config.plan.mfu * ACCELERATORS[config.plan.gpu].bf16_flops_per_second
    return PhasePlan(
        name=name,
        num_trained=sum(weight.numel() for weight in llava.parameters() if weight.requires_grad),
        num_samples=num_samples,
        content=content,
        work=work,
        memory=phase_memory(llava, phase, _microbatch(config, phase, lengths), num_gpus=config.plan.num_gpus),
        host_bytes=host_bytes(llava, phase.loop),
        hours=num_samples * work.total / speed / _SECONDS_PER_HOUR,
    )


def describe(config: FineTuneConfig) -> str:
    """Return the whole plan as Markdown."""
    phases = [plan_phase(config, name) for name in config.phases]
    return "\n".join(
        [
            _parameters_section(config),
            _memory_section(config, phases),
            _work_section(config, phases),
        ]
    )


def _average(lengths: Lengths, tokens_per_image: int) -> Content:
    num_tokens = lengths.text_tokens + lengths.image_share * tokens_per_image
    return Content.of_sample(num_tokens, lengths.supervised_tokens, lengths.image_share)


def _microbatch(config: FineTuneConfig, phase: PhaseConfig, lengths: Lengths) -> Microbatch:
    num_gpus, size = config.plan.num_gpus, phase.loop.microbatch_size
    unit = num_gpus * (size or 1)
    if phase.loop.batch_size % unit:
        wanted = f"a multiple of {unit} (the plan's {num_gpus} GPUs x microbatches of {size or 1})"
        raise UserError("does not divide over the GPUs", where="batch_size", found=phase.loop.batch_size, wanted=wanted)
    num_samples = size or phase.loop.batch_size // num_gpus
    return Microbatch(
        num_samples=num_samples,
        longest_tokens=lengths.longest_tokens or config.longest_sequence_tokens,
        num_supervised=round(num_samples * lengths.supervised_tokens),
    )


def _parameters_section(config: FineTuneConfig) -> str:
    counts = parameter_counts(config)
    as_it_comes = counts.pop("language model as it comes")
    rows = [[name, f"{number:,}"] for name, number in counts.items()]
    note = ""
    if as_it_comes != counts["language model"]:
        rows_after = captioner_shape(config).get_text_config().vocab_size
        note = (
            f"\nThe language model has {as_it_comes:,} before its table grows from "
            f"{language_shape(config).vocab_size:,} to {rows_after:,} rows, for `<image>` and `<pad>`.\n"
        )
    return f"## Parameters\n\n{markdown_table(['part', 'parameters'], rows)}{note}"


def _memory_section(config: FineTuneConfig, phases: Sequence[PhasePlan]) -> str:
    accelerator = ACCELERATORS[config.plan.gpu]
    terms = list(asdict(phases[0].memory))
    rows = []
    for plan in phases:
        phase = config.phase(plan.name)
        microbatch = _microbatch(config, phase, getattr(config.plan, plan.name))
        numbers = [_gib(value) for value in asdict(plan.memory).values()]
        share = f"{plan.memory.total / accelerator.memory_bytes:.0%}"
        size = f"{microbatch.num_samples} x {microbatch.longest_tokens}"
        totals = [_gib(plan.memory.total), share, _gib(plan.host_bytes)]
        rows.append([plan.name, phase.loop.sharding, size, *numbers, *totals])
    headers = ["phase", "sharding", "microbatch", *terms, "in all", f"of {config.plan.gpu}", "host"]
    about = (
        f"GiB on each of {config.plan.num_gpus} GPUs, for a microbatch of the longest sequences. What the terms hold, "
        "and what is left out, says `llava_train/memory.py`; keep a tenth of the device free. Host is the most that "
        "each process holds of its own in the machine's memory while the phase starts; frozen weights published in "
        "bfloat16 are mapped and shared."
    )
    return f"## Memory\n\n{about}\n\n{markdown_table(headers, rows)}"


def _work_section(config: FineTuneConfig, phases: Sequence[PhasePlan]) -> str:
    rows = [
        [
            plan.name,
            f"{plan.num_trained:,}",
            f"{plan.num_samples:,}",
            f"{plan.content.num_tokens:.0f}",
            f"{plan.content.num_supervised:.0f}",
            f"{sum(plan.work.forward.values()) / _TERA:.2f}",
            f"{sum(plan.work.backward.values()) / _TERA:.2f}",
            f"{plan.hours:.1f}",
        ]
        for plan in phases
    ]
    headers = [
        "phase", "trained parameters", "samples", "tokens a sample", "supervised", "forward TFLOP", "backward TFLOP",
        "hours",
    ]  # fmt: skip
    peak = ACCELERATORS[config.plan.gpu].bf16_flops_per_second / _TERA
    about = (
        f"Hours on {config.plan.num_gpus} {config.plan.gpu} at {config.plan.mfu:.0%} of their {peak:g} TFLOP/s; tokens "
        "a sample are what `plan` in the config says. FLOPs are a sample's useful ones (`llava_train/compute.py`): a "
        "frozen weight has no gradient, and what is computed again or padded counts for nothing."
    )
    total = f"All phases: {sum(plan.hours for plan in phases):.1f} hours.\n"
    return f"## Work\n\n{about}\n\n{markdown_table(headers, rows)}\n{total}"


def _gib(value: float) -> str:
    return f"{value / _GIB:.1f}"


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
