"""CLIPs of published size on one GPU: samples a second, MFU and memory, beside open_clip's model in a plain loop."""

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from open_clip.model import CLIP

from benchmarks.clip_ways import END_ID, mixed_batch, own_step, own_training, their_model, their_step
from benchmarks.race import rate_text
from clip_train.architecture import compile_blocks, model_config
from clip_train.compute import ClipCost
from clip_train.model_files import ModelFile, read_model_file
from runtime.device import pick_device
from runtime.hardware import peak_flops_per_second
from runtime.tables import markdown_table

ABOUT = """\
One update: forward, softmax loss over the batch, backward, fused AdamW, in bf16 autocast, with random weights and data,
nothing read from a disk. "open_clip" is its model as it builds it, its `ClipLoss` and torch's AdamW, on normalised
images that are on the device already; "OpenRecap" is `clip_train`'s engine, on bytes in the host's memory that it
copies and normalises; "compiled" the same with `--compile_blocks true`. Context: every text fills it, except in rows of
mixed lengths. There one text in five is as long as a recaption (50 to 80 tokens), the others as alt-text (6 to 20),
under the `-masked` model, of which ours computes no padding. MFU counts useful work alone (`clip_train.compute`): of
mixed lengths no padding, whoever computes it. Batches are the largest power of two that fits, up to the one that is
tried first."""

_NONE = "–"
_GIB = 2**30
_WARM_UPDATES = 2
Found = TypeVar("Found")


@dataclass(frozen=True, kw_only=True)
class Case:
    """A model, and what it reads."""

    model: str
    image_size_px: int
    context_length: int
    batch_size: int
    """Largest batch to try."""
    mixed: bool = False
    """Whether texts have mixed lengths, read by the masked variant."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """What is measured."""

    cases: tuple[Case, ...]
    num_updates: int
    compiled: bool
    limit_seconds: float
    """Time after which no further row is begun."""


def _case(model: str, image_size_px: int, context_length: int, batch_size: int, *, mixed: bool = False) -> Case:
    return Case(
        model=model, image_size_px=image_size_px, context_length=context_length, batch_size=batch_size, mixed=mixed
    )


SIZES = {
    "full": Size(
        cases=(
            _case("B-16", 112, 32, 8192),
            _case("B-16", 112, 77, 8192),
            _case("B-16", 112, 128, 8192),
            _case("B-16", 112, 128, 8192, mixed=True),
            _case("B-16", 224, 128, 2048),
            _case("L-16", 112, 128, 4096),
        ),
        num_updates=4,
        compiled=True,
        limit_seconds=400.0,
    ),
    "tiny": Size(
        cases=(
            _case("tiny", 32, 8, 4),
            _case("tiny", 32, 16, 4),
            _case("tiny", 32, 16, 4, mixed=True),
        ),
        num_updates=1,
        compiled=False,
        limit_seconds=400.0,
    ),
}


@dataclass(frozen=True, kw_only=True)
class _Rate:
    samples_per_second: float
    peak_bytes: int | None


def measure(size: Size, repeats: int) -> str:
    """Return the table. Every way is timed once, over `num_updates`, whatever the `repeats`.

    Without a GPU the models are tiny: it shows that all this runs, and nothing else.
    """
    device = pick_device("auto")
    if device.type == "cpu":
        size = SIZES["tiny"]
    began, rows = time.perf_counter(), []
    for case in size.cases:
        for way in ("open_clip", "OpenRecap", "OpenRecap, compiled") if size.compiled else ("open_clip", "OpenRecap"):
            if time.perf_counter() - began > size.limit_seconds:
                rows.append([*_labels(case, way), _NONE, "no time was left", _NONE, _NONE])
                continue
            batch_size, rate = largest(lambda count: _rate(case, way, count, size, device), case.batch_size)  # noqa: B023
            rows.append([*_labels(case, way), f"{batch_size:,}", *_cells(case, rate, device)])
    what = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU, with tiny models"
    headers = ["model", "px", "context", "way", "batch", "samples / s", "MFU", "peak, GiB"]
    return f"On {what}.\n\n{markdown_table(headers, rows)}"


def largest(attempt: Callable[[int], Found], batch_size: int) -> tuple[int, Found]:
    """Return the largest of `batch_size`, its half, its quarter, ... that fits the memory, and what came of it."""
    while True:
        try:
            return batch_size, attempt(batch_size)
        except torch.OutOfMemoryError:
            if batch_size == 1:
                raise
        # Outside the handler: the error's traceback holds what did not fit.
        _forget()
        batch_size //= 2


def _labels(case: Case, way: str) -> list[str]:
    return [case.model, str(case.image_size_px), f"{case.context_length}{', mixed' if case.mixed else ''}", way]


def _cells(case: Case, rate: _Rate, device: torch.device) -> list[str]:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    peak = peak_flops_per_second(device.type, "bf16", name)
    held = ClipCost(_config(case)).workload(_batch(case, _COUNTED))
    flops = held["flops"] / held["images"] * rate.samples_per_second
    return [
        rate_text(rate.samples_per_second),
        _NONE if peak is None else f"{flops / peak:.1%}",
        _NONE if rate.peak_bytes is None else f"{rate.peak_bytes / _GIB:.1f}",
    ]


_COUNTED = 1000
"""Samples whose work stands for all."""


def _rate(case: Case, way: str, batch_size: int, size: Size, device: torch.device) -> _Rate:
    """Time a way's updates on one batch."""
    _forget()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    step = _step(case, way, batch_size, device)
    for _ in range(_WARM_UPDATES if device.type == "cuda" else 1):
        step()
    _wait(device)
    began = time.perf_counter()
    for _ in range(size.num_updates):
        step()
    _wait(device)
    seconds = time.perf_counter() - began
    peak = torch.cuda.max_memory_allocated() if device.type == "cuda" else None
    return _Rate(samples_per_second=batch_size * size.num_updates / seconds, peak_bytes=peak)


def _step(case: Case, way: str, batch_size: int, device: torch.device) -> Callable[[], object]:
    config, batch = _config(case), _batch(case, batch_size)
    if way == "open_clip":
        with device:
            return their_step(their_model(config), batch)
    # Drawn where it will train: a CPU takes longer over an L/16's weights than a GPU over the updates.
    with device:
        model = CLIP(**config, output_dict=True)
    if way.endswith("compiled"):
        # Programs of other shapes than this case's would count towards the number that torch keeps.
        torch._dynamo.reset()
        compile_blocks(model)
    return own_step(own_training(model, batch_size, device.type), batch)


def _batch(case: Case, batch_size: int) -> Any:
    return mixed_batch(batch_size, case.image_size_px, case.context_length, mixed=case.mixed)


def _config(case: Case) -> dict[str, Any]:
    name = "S-16" if case.model == "tiny" else case.model
    model = read_model_file(f"Recap-CLIP-{name}{'-masked' if case.mixed else ''}")
    assert model is not None, "the project's own model file"
    config = {
        **model.config,
        "vision_cfg": dict(model.config["vision_cfg"]),
        "text_cfg": dict(model.config["text_cfg"]),
    }
    if case.model == "tiny":
        config["vision_cfg"] |= {"width": 32, "layers": 1, "head_width": 16}
        config["text_cfg"] |= {"width": 32, "layers": 1, "heads": 2}
    return model_config(
        ModelFile(file=model.file, config=config, preprocess={}),
        image_size_px=case.image_size_px,
        vocab_size=config["text_cfg"]["vocab_size"],
        context_length=case.context_length,
        end_id=END_ID,
    )


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def _forget() -> None:
    """Give back what the way before held."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
