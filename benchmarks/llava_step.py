"""A captioner's training step: our loop, packed and not, beside transformers' Trainer, in each phase.

On a GPU with weights drawn at random in the shapes of the paper's captioner, on a CPU in miniature; the same table.
"""

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from benchmarks.llava_samples import TextLengths, Vocabulary, draw_samples
from benchmarks.llava_ways import Contest, seconds_of_fit, seconds_of_trainer
from benchmarks.race import Contender, Result, race, rate_text, spread
from llava_train.batch import collate
from llava_train.compute import CaptionerCost
from llava_train.config import LoraConfig, Part, PhaseConfig
from llava_train.geometry import KNOWN_LANGUAGE_MODELS, KNOWN_VISION_TOWERS
from llava_train.lora import add_adapters
from llava_train.memory import BYTES_PER_LOGIT, Microbatch, phase_memory
from llava_train.parts import num_image_tokens
from llava_train.phases import freeze
from llava_train.pixels import Normaliser, PixelGeometry
from llava_train.recompute import recompute_blocks
from llava_train.workload import Workload
from runtime.device import pick_device
from runtime.hardware import peak_flops_per_second
from runtime.loop_config import LoopConfig
from runtime.tables import Align, markdown_table

ABOUT = """\
Both train the same model on the same samples in the same order, in bfloat16 autocast with fused AdamW, a cosine
schedule and gradients clipped at 1. Samples are in memory and their token ids ready; neither side decodes pictures.
`Trainer` gets its pixels as normalised floats, as processors leave them, pads each microbatch and attends by `sdpa`;
ours gets bytes, attends as training does and, with packing, puts the samples of a microbatch into common rows. Phases:
align moves the projector alone; instruct the projector and, by low-rank adapters or in full, the language model.
Lengths are log-normal: like conversations', but no published distribution. Tokens exclude padding. MFU counts useful
work alone (`llava_train.compute`): no weight gradients of frozen weights, no padding, nothing computed again; CPUs have
no peak here, hence no MFU. GiB are the most that torch had allocated at a time on the GPU."""

_SPARE_SHARE = 0.2
"""Share of the device's memory that a microbatch chosen by the plan leaves free."""
_CPU_MICROBATCH = 16
_GIB = 2**30
NOTHING = "–"
_ALIGN: list[Align] = ["left", "left", *["right"] * 5]  # type: ignore[list-item]


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A captioner's shapes and its data's."""

    vision: dict[str, Any]
    language: dict[str, Any]
    text: TextLengths
    rank: int

    @property
    def vocabulary(self) -> Vocabulary:
        """Return ids with `<image>` and `<pad>` at the table's end."""
        rows = int(self.language["vocab_size"])
        return Vocabulary(num_words=rows - 2, image_id=rows - 2, pad_id=rows - 1)


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is trained, on a CPU and on a GPU."""

    num_updates: int = 6
    num_microbatches: int = 2
    """Microbatches of an update."""
    microbatch_size: int | None = None
    """Samples of a microbatch; unset: as many as the plan says fit the GPU, on a CPU 16."""


SIZES = {"full": Size(), "tiny": Size(num_updates=1, num_microbatches=1, microbatch_size=2)}

_REAL = Shape(
    vision=KNOWN_VISION_TOWERS["openai/clip-vit-large-patch14-336"],
    language={**KNOWN_LANGUAGE_MODELS["meta-llama/Meta-Llama-3-8B"], "vocab_size": 128_320},
    text=TextLengths(median=160, spread=0.8, longest=2048, supervised_share=0.5),
    rank=128,
)
_MINIATURE = Shape(
    vision={
        "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4,
        "image_size": 64, "patch_size": 16,
    },
    language={
        "vocab_size": 1024, "hidden_size": 160, "intermediate_size": 416, "num_hidden_layers": 3,
        "num_attention_heads": 5, "num_key_value_heads": 5,
    },
    text=TextLengths(median=60, spread=0.8, longest=256, supervised_share=0.5),
    rank=16,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _Phase:
    name: str
    trainable: tuple[Part, ...]
    lora: bool = False

    def config(self, shape: Shape, *, gradient_checkpointing: bool) -> PhaseConfig:
        return PhaseConfig(
            conversations=["none"],
            trainable=list(self.trainable),
            loop=LoopConfig(num_updates=1, batch_size=1, learning_rate=1.0, precision="bf16"),
            lora=LoraConfig(rank=shape.rank) if self.lora else None,
            gradient_checkpointing=gradient_checkpointing,
        )


_PHASES = (
    _Phase(name="align", trainable=("projector",)),
    _Phase(name="instruct, LoRA", trainable=("projector", "language_model"), lora=True),
    _Phase(name="instruct, full", trainable=("projector", "language_model")),
)


def measure(size: Size, repeats: int) -> str:
    """Return the table of all phases, and what was left out for want of memory."""
    device = pick_device("auto")
    shape = _MINIATURE if device.type == "cpu" else _REAL
    rows: list[Sequence[str]] = []
    notes: list[str] = []
    for phase in _PHASES:
        fitting = _fitting(shape, phase, size, device)
        if isinstance(fitting, str):
            notes.append(fitting)
            continue
        rows += _phase_rows(phase, _Setting.make(shape, phase, size, fitting, device), repeats)
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
    headers = ["phase", "way", "samples / s", "tokens / s", "MFU", "GiB", "times Trainer"]
    layers, width = shape.language["num_hidden_layers"], shape.language["hidden_size"]
    about = f"{layers} layers of width {width}; {_device_name(device)}."
    return "\n\n".join([about, markdown_table(headers, rows, _ALIGN).strip(), *notes]) + "\n"


@dataclass(frozen=True, kw_only=True)
class _Fitting:
    """What fits the device."""

    microbatch_size: int
    phase: PhaseConfig


def _fitting(shape: Shape, phase: _Phase, size: Size, device: torch.device) -> _Fitting | str:
    """Return the largest microbatch that the plan says fits, computing blocks again where few samples would; else why
    none does.
    """
    plain = phase.config(shape, gradient_checkpointing=False)
    if device.type == "cpu" or size.microbatch_size is not None:
        return _Fitting(microbatch_size=size.microbatch_size or _CPU_MICROBATCH, phase=plain)
    room = torch.cuda.get_device_properties(device).total_memory * (1 - _SPARE_SHARE)
    needed = 0.0
    for checkpointing in (False, True):
        config = phase.config(shape, gradient_checkpointing=checkpointing)
        llava = _build(shape, config, torch.device("meta"))
        for microbatch_size in (32, 16, 8, 4):
            needed = _planned_bytes(llava, config, microbatch_size, shape.text)
            if needed <= room:
                return _Fitting(microbatch_size=microbatch_size, phase=config)
    return f"{phase.name}: left out; the plan says {needed / _GIB:.0f} GiB for 4 samples, of {room / _GIB:.0f} to use."


def _planned_bytes(
    llava: LlavaForConditionalGeneration, phase: PhaseConfig, num_samples: int, text: TextLengths
) -> float:
    usual = num_image_tokens(llava) + 2 * text.median
    supervised = round(num_samples * 2 * text.median * text.supervised_share)
    microbatch = Microbatch(num_samples=num_samples, longest_tokens=usual, num_supervised=supervised)
    memory = phase_memory(llava, phase, microbatch, num_gpus=1)
    # Both ways take the same microbatch, and `Trainer` has the logits of all tokens at once.
    every_logit = num_samples * usual * llava.lm_head.out_features * BYTES_PER_LOGIT
    return memory.total - memory.logits + every_logit


def _build(shape: Shape, phase: PhaseConfig, device: torch.device) -> LlavaForConditionalGeneration:
    """Return a captioner of random weights, frozen and adapted as its phase trains it; frozen weights are bfloat16."""
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**shape.vision).to_dict(),
        text_config=LlamaConfig(**shape.language).to_dict(),
        image_token_index=shape.vocabulary.image_id,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
    )
    config.image_seq_length = (shape.vision["image_size"] // shape.vision["patch_size"]) ** 2
    torch.manual_seed(0)
    with torch.device(device):
        llava = LlavaForConditionalGeneration(config)
        freeze(llava, phase)
        if phase.lora is not None:
            add_adapters(llava, phase.lora, seed=0)
    if device.type == "cuda":
        for parameter in llava.parameters():
            parameter.data = parameter.data if parameter.requires_grad else parameter.data.bfloat16()
    recompute_blocks(llava, phase.gradient_checkpointing)
    return llava


@dataclass(frozen=True, kw_only=True)
class _Setting:
    """One phase, ready to be raced."""

    contest: Contest
    tokens_per_sample: float
    flops_per_sample: float
    peak_flops_per_second: float | None

    @classmethod
    def make(cls, shape: Shape, phase: _Phase, size: Size, fitting: _Fitting, device: torch.device) -> "_Setting":
        llava = _build(shape, fitting.phase, device)
        vocabulary = shape.vocabulary
        batch_size = fitting.microbatch_size * size.num_microbatches
        side = int(shape.vision["image_size"])
        samples = draw_samples(
            batch_size * (size.num_updates + 1),
            shape.text,
            vocabulary,
            tokens_per_image=num_image_tokens(llava),
            image_size_px=side,
        )
        geometry = PixelGeometry(image_size_px=side, mean=(0.48, 0.46, 0.41), std=(0.27, 0.26, 0.28))
        work = Workload(CaptionerCost(llava), pad_id=vocabulary.pad_id, image_id=vocabulary.image_id)
        # Those of the first update are not measured.
        counted = samples[batch_size:]
        held = work(collate(counted, vocabulary.pad_id))
        return cls(
            contest=Contest(
                llava=llava,
                normaliser=Normaliser(geometry).to(device),
                samples=samples,
                batch_size=batch_size,
                microbatch_size=fitting.microbatch_size,
                num_updates=size.num_updates,
                pad_id=vocabulary.pad_id,
                max_row_tokens=shape.text.longest,
                device=device,
                gradient_checkpointing=fitting.phase.gradient_checkpointing,
                workload=work,
            ),
            tokens_per_sample=held["tokens"] / len(counted),
            flops_per_sample=held["flops"] / len(counted),
            peak_flops_per_second=peak_flops_per_second(device.type, "bf16", _device_name(device)),
        )


def _phase_rows(phase: _Phase, setting: _Setting, repeats: int) -> list[Sequence[str]]:
    memory: dict[str, float] = {}
    ways = {
        "Trainer": partial(seconds_of_trainer, setting.contest),
        "ours": partial(seconds_of_fit, setting.contest, packing=False),
        "ours, packed": partial(seconds_of_fit, setting.contest, packing=True),
    }
    contenders = [
        Contender(
            name=name,
            seconds=partial(_watched, way, name, memory, setting.contest.device),
            num_items=setting.contest.num_counted,
        )
        for name, way in ways.items()
    ]
    results = race(contenders, repeats=repeats)
    return [_row(phase, setting, result, results[0], memory[result.name]) for result in results]


def _row(phase: _Phase, setting: _Setting, result: Result, reference: Result, bytes_used: float) -> Sequence[str]:
    ratios = [rate / other for rate, other in zip(result.rates, reference.rates, strict=True)]
    peak = setting.peak_flops_per_second
    shares = [] if peak is None else [rate * setting.flops_per_sample / peak for rate in result.rates]
    return [
        f"{phase.name}, {setting.contest.microbatch_size} a microbatch",
        result.name,
        spread(result.rates, rate_text),
        spread([rate * setting.tokens_per_sample for rate in result.rates], rate_text),
        spread(shares, "{:.1%}".format) if shares else NOTHING,
        f"{bytes_used / _GIB:.1f}" if bytes_used else NOTHING,
        spread(ratios, "{:.2f}".format),
    ]


def _watched(way: Callable[[], float], name: str, memory: dict[str, float], device: torch.device) -> float:
    """Take a way's turn, and note the most memory that it had."""
    if device.type != "cuda":
        memory[name] = 0.0
        return way()
    torch.cuda.reset_peak_memory_stats(device)
    seconds = way()
    memory[name] = max(memory.get(name, 0.0), float(torch.cuda.max_memory_allocated(device)))
    return seconds


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
