"""Recaptioning on one GPU: a captioner of published size with random weights, beside what the GPU can do at most."""

import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import torch

from benchmarks.large_captioner import Roofline, make_captioner, published_shape, tiny_shape
from benchmarks.race import rate_text
from benchmarks.recaption_shards import write_shards
from imagetext.conversations import PAPER_PROMPT
from llava_train.decoding.products import fp8_is_offered
from llava_train.model import Ask, Engine, LoadedCaptioner, Question
from recaption.captioners.base import Captioner, Item, Result
from recaption.captioners.transformers_captioner import TransformersCaptioner
from recaption.config import RecaptionConfig
from recaption.engine_config import EngineConfig
from recaption.executors.local import caption_units
from recaption.inputs.opening import open_units
from recaption.job.manifest import describe_job, write_manifest
from recaption.quality.config import CanaryConfig
from runtime.device import pick_device
from runtime.hardware import accelerator_of
from runtime.tables import markdown_table

ABOUT = """\
Captions of drawn pictures (JPEG, 512 px) under the paper's prompt, by LLaVA-1.5 on LLaMA-3-8B with CLIP ViT-L/14 at
336 px: 576 image tokens a picture. Its weights are random, drawn on the GPU; every caption has exactly the tokens
named, for no stop token is ever likely. Engine alone: prepared pictures in the host's memory in, tokens out. Tar to
parquet: shards in, sidecars out, through a worker of `recaption run` that decodes ahead in processes; from the first
picture that these hand over, since they start once for a whole job. Both run once and include filling the slots at the
start and draining them at the end; weights are there already, and a first few captions do not count.

The most a GPU could do: all products of vision tower, prompt and caption at the data sheet's dense rate, plus the time
to read each caption's keys and values in every step (fp8: products of the language model's blocks at twice the rate).
Idle: share of the time between the first and the last kernel of a run of the engine in which no kernel ran, by torch's
profiler. fp8 is the speed alone: whether a model sees in it as it does in bfloat16 is another question."""

NEW_TOKENS = (60, 128)
GOALS: dict[tuple[str, int], float] = {("bf16", 60): 55.0, ("bf16", 128): 46.0}
"""Images a second, tar to parquet, on an H200."""
_CACHE_SHARE = 0.8
"""Share of the free memory that keys and values may take; prompts need room for their activations."""

Precision = Literal["bf16", "fp8"]


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is captioned."""

    published: bool
    """The published size; else a tiny one."""
    num_pictures: int
    num_slots: int
    """Most captions decoded side by side."""
    new_tokens: tuple[int, ...]
    side_px: int
    """Longer side of the pictures in the shards."""


SIZES = {
    "full": Size(published=True, num_pictures=1536, num_slots=512, new_tokens=NEW_TOKENS, side_px=512),
    "tiny": Size(published=False, num_pictures=12, num_slots=4, new_tokens=(3, 5), side_px=48),
}


@dataclass(frozen=True, kw_only=True)
class _Measured:
    precision: Precision
    new_tokens: int
    engine_rate: float
    worker_rate: float
    idle_share: float | None
    bound: float | None


def measure(size: Size, repeats: int) -> str:
    """Return the table of rates, by precision and length.

    Every way runs once, whatever the `repeats`: a minute of a GPU is thousands of captions. Without a GPU the captioner
    is tiny: it shows that all this runs, and nothing else.
    """
    device = pick_device("auto")
    if device.type == "cpu":
        size = SIZES["tiny"]
    offered: list[Precision] = ["bf16", "fp8"] if fp8_is_offered(device) else ["bf16"]
    measured: list[_Measured] = []
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_shards(folder / "shards", size.num_pictures, size.side_px)
        for precision in offered:
            for new_tokens in size.new_tokens:
                run = _Run(folder=folder, size=size, device=device, precision=precision, new_tokens=new_tokens)
                measured.append(run.measure())
                _free(device)
    what = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU, with a tiny captioner"
    return f"On {what}, {size.num_pictures} pictures.\n\n{_table(measured)}\n"


@dataclass(frozen=True, kw_only=True)
class _Run:
    folder: Path
    size: Size
    device: torch.device
    precision: Precision
    new_tokens: int

    def measure(self) -> _Measured:
        shape = published_shape() if self.size.published else tiny_shape()
        captioner = make_captioner(shape, self.folder / "tokenizer", self.device, torch.bfloat16)
        prompt = tuple(captioner.prompt_ids(PAPER_PROMPT))
        bound = self._bound(captioner, len(prompt))
        num_slots = _fitting_slots(captioner, self.size.num_slots, len(prompt) + self.new_tokens)
        config = self._config(num_slots)
        opened = TransformersCaptioner(_Rounded(captioner, fp8=self.precision == "fp8"), config, "random")
        engine = opened.engine
        _caption(engine, prompt, captioner, num_slots // 8 + 1)
        engine_seconds = _caption(engine, prompt, captioner, self.size.num_pictures)
        worker_seconds = self._work(config, opened)
        idle = None
        if self.device.type == "cuda":
            idle = _idle_share(lambda: _caption(engine, prompt, captioner, num_slots + num_slots // 4))
        return _Measured(
            precision=self.precision,
            new_tokens=self.new_tokens,
            engine_rate=self.size.num_pictures / engine_seconds,
            worker_rate=self.size.num_pictures / worker_seconds,
            idle_share=idle,
            bound=bound,
        )

    def _bound(self, captioner: LoadedCaptioner, prompt_tokens: int) -> float | None:
        roofline = Roofline.of(captioner.llava.config, prompt_tokens, self.new_tokens)
        accelerator = accelerator_of(torch.cuda.get_device_name(self.device)) if self.device.type == "cuda" else None
        return None if accelerator is None else roofline.images_per_second(accelerator, fp8=self.precision == "fp8")

    def _config(self, num_slots: int) -> RecaptionConfig:
        return RecaptionConfig(
            output_dir=self.folder / "side",
            model=self.folder / "tokenizer",
            shards=str(self.folder / "shards"),
            max_new_tokens=self.new_tokens,
            batch_size=num_slots,
            deterministic=False,
            threads=4,
            engine=EngineConfig(supervised=False, rows_ahead=max(256, num_slots)),
            # It would refuse a captioner with random weights, as it should.
            canary=CanaryConfig(pictures=0),
        )

    def _work(self, config: RecaptionConfig, opened: TransformersCaptioner) -> float:
        """Caption the shards into a fresh folder; return the seconds from the first prepared picture on."""
        name = f"side_{self.precision}_{self.new_tokens}"
        config = replace(config, output_dir=self.folder / name)
        units = open_units(config)
        write_manifest(config.output_dir, describe_job(config, opened.captioner_id, len(units)))
        clocked = _Clocked(opened)
        reports = list(caption_units(config, units, open_captioner=lambda _: clocked))
        seconds = time.perf_counter() - clocked.began
        counted = sum((Counter(report.statuses) for report in reports), Counter())
        assert counted == {"success": self.size.num_pictures}, f"not everything was captioned: {counted}"
        return seconds


class _Clocked:
    """A captioner that notes when its first picture comes; until then decode processes start, which import torch."""

    def __init__(self, captioner: Captioner):
        self._captioner = captioner
        self.captioner_id, self.prepare = captioner.captioner_id, captioner.prepare
        self.began = math.inf

    def answer(self, items: Iterator[Item]) -> Iterator[Result]:
        return self._captioner.answer(self._noted(items))

    def _noted(self, items: Iterator[Item]) -> Iterator[Item]:
        for item in items:
            self.began = min(self.began, time.perf_counter())
            yield item


class _Rounded:
    """A loaded captioner whose engines compute in 8 bits when asked to; `recaption` does not offer that."""

    def __init__(self, captioner: LoadedCaptioner, *, fp8: bool):
        self._captioner, self._fp8 = captioner, fp8

    def __getattr__(self, name: str) -> Any:
        return getattr(self._captioner, name)

    def engine(self, settings: Any, *, take_over: bool) -> Engine:
        return self._captioner.engine(settings, take_over=take_over, fp8=self._fp8)


def _caption(engine: Engine, prompt: tuple[int, ...], captioner: LoadedCaptioner, count: int) -> float:
    """Caption so many prepared pictures; return the seconds."""
    side = captioner.geometry.image_size_px
    pictures = np.random.default_rng(0).integers(0, 256, (16, 3, side, side), dtype=np.uint8)
    questions = (Question(token_ids=prompt),)
    asks = (Ask(ticket=index, pixels=pictures[index % 16], questions=questions) for index in range(count))
    began = time.perf_counter()
    num_said = sum(1 for _ in engine.run(asks))
    assert num_said == count, f"{num_said} of {count} pictures were captioned"
    return time.perf_counter() - began


def _fitting_slots(captioner: LoadedCaptioner, wanted: int, tokens: int) -> int:
    """Return how many captions' keys and values fit beside the model and its prompts."""
    if captioner.device.type == "cpu":
        return wanted
    text: Any = captioner.llava.config.text_config
    row_bytes = 2 * 2 * text.num_hidden_layers * text.num_key_value_heads * text.head_dim * (-(-tokens // 64) * 64)
    free, _ = torch.cuda.mem_get_info(captioner.device)
    return max(1, min(wanted, int(_CACHE_SHARE * free / row_bytes)))


def _idle_share(work: Any) -> float:
    """Return the share of the time between a run's first and last kernel in which no kernel ran."""
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        work()
        torch.cuda.synchronize()
    assert profiler.profiler is not None and profiler.profiler.kineto_results is not None, "the profiler ran"
    events = profiler.profiler.kineto_results.events()
    return idle_share(
        (event.start_ns(), event.start_ns() + event.duration_ns())
        for event in events
        if event.device_type() == DeviceType.CUDA
    )


def idle_share(intervals: Iterable[tuple[int, int]]) -> float:
    """Return the share of the span of some intervals that none of them covers."""
    covered, first, end = 0, None, 0
    for start, stop in sorted(intervals):
        if first is None:
            first, end = start, start
        covered += max(0, stop - max(start, end))
        end = max(end, stop)
    if first is None:
        raise ValueError("no kernel ran")
    return 1 - covered / (end - first)


def _free(device: torch.device) -> None:
    """Give memory back before the next captioner is made."""
    import gc

    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _table(measured: Sequence[_Measured]) -> str:
    columns = [
        "precision", "new tokens", "tar to parquet, images / s", "goal on an H200", "engine alone, images / s",
        "at most", "share of that, tar to parquet", "idle",
    ]  # fmt: skip
    return markdown_table(columns, [list(_cells(row)) for row in measured])


def _cells(row: _Measured) -> Iterator[str]:
    goal = GOALS.get((row.precision, row.new_tokens))
    yield row.precision
    yield str(row.new_tokens)
    yield rate_text(row.worker_rate)
    yield "" if goal is None else f"{goal:.0f}"
    yield rate_text(row.engine_rate)
    yield "unknown" if row.bound is None else rate_text(row.bound)
    yield "unknown" if row.bound is None else f"{100 * row.worker_rate / row.bound:.0f} %"
    yield "not measured" if row.idle_share is None else f"{100 * row.idle_share:.1f} %"
