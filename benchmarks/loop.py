"""The loop: an update of runtime.loop.fit beside a training loop written by hand."""

import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from benchmarks.race import Contender, race, table
from benchmarks.transformer import Transformer, random_tokens
from runtime.ema import Ema
from runtime.loop import LoopConfig, fit
from runtime.run import Run
from runtime.schedules import cosine_with_warmup
from runtime.task import LossSum

ABOUT = """\
The same model, batches in memory, AdamW, cosine schedule and gradient clipping at 1. By hand: forward, backward,
`clip_grad_norm_`, `step`, and nothing else. `runtime.loop.fit` besides refuses non-finite losses and gradients before
each update, derives the noise of each microbatch, averages and writes metrics, and watches for SIGTERM. Set-up and the
checkpoint at the end are not counted on either side: seconds run from the first update's end to the last's. The small
model shows the overhead of an update, the larger one what it comes to in a real step."""


_LEARNING_RATE = 1e-4
_NUM_TOKENS = 32


@dataclass(frozen=True, kw_only=True)
class Size:
    """What is trained, twice: a model with hardly any work in it, and one with some."""

    num_updates_small: int = 300
    num_updates_larger: int = 25
    width_larger: int = 128
    batch_size: int = 32


SIZES = {"full": Size(), "tiny": Size(num_updates_small=4, num_updates_larger=2, width_larger=16, batch_size=2)}


@dataclass(frozen=True)
class _Batch:
    keys: tuple[str, ...]
    inputs: Tensor


class _Repeating:
    """One batch, for ever (a `runtime.source.BatchSource`)."""

    def __init__(self, inputs: Tensor):
        self._batch = _Batch(tuple(map(str, range(len(inputs)))), inputs)

    def updates(self, start_update: int, *, rank: int, world_size: int) -> Iterator[Sequence[_Batch]]:
        return itertools.repeat([self._batch])

    def fingerprint(self) -> str:
        return "one batch"

    def audit(self) -> dict[str, object]:
        return {}


class _MeanSquare:
    """Half the mean square of the features, by sample (a `runtime.task.Task`)."""

    def count(self, batch: _Batch) -> int:
        return len(batch.keys)

    def loss(self, model: nn.Module, batch: _Batch, step: int, generator: torch.Generator) -> LossSum:
        return LossSum(total=model(batch.inputs).flatten(1).square().mean(1).sum())


def measure(size: Size, repeats: int) -> str:
    """Return a table for each of the two models, and the overhead of one update."""
    width = size.width_larger
    inputs_small = torch.randn(size.batch_size, 16, generator=torch.Generator().manual_seed(0))
    small = _Setting(build=lambda: nn.Linear(16, 16), inputs=inputs_small, num_updates=size.num_updates_small)
    larger = _Setting(
        build=lambda: Transformer(width=width, num_layers=4, num_heads=4, attention="eager"),
        inputs=random_tokens(size.batch_size, _NUM_TOKENS, width),
        num_updates=size.num_updates_larger,
    )
    return (
        f"One linear layer of 16 x 16.\n\n{_compare(small, repeats)}\n"
        f"A transformer of 4 layers, width {width}, {size.batch_size} samples of {_NUM_TOKENS} tokens.\n\n"
        f"{_compare(larger, repeats)}"
    )


@dataclass(frozen=True, kw_only=True)
class _Setting:
    build: Callable[[], nn.Module]
    inputs: Tensor
    num_updates: int
    """Updates that count; one more goes before them."""

    def model(self) -> nn.Module:
        torch.manual_seed(0)
        return self.build()


def _compare(setting: _Setting, repeats: int) -> str:
    ways = {"by hand": _seconds_by_hand, "runtime.loop.fit": _seconds_of_fit}
    contenders = [
        Contender(name=name, seconds=partial(way, setting), num_items=setting.num_updates) for name, way in ways.items()
    ]
    hand, ours = results = race(contenders, repeats=repeats)
    overheads = [1e3 / rate - 1e3 / other for rate, other in zip(ours.rates, hand.rates, strict=True)]
    spread = f"{min(overheads):.2f} to {max(overheads):.2f}"
    middle = statistics.median(overheads)
    return f"{table(results, unit='updates')}\nOverhead of an update: {middle:.2f} ms ({spread}).\n"


def _seconds_by_hand(setting: _Setting) -> float:
    model = setting.model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=_LEARNING_RATE, weight_decay=0.0, fused=True)
    began = 0.0
    for step in range(setting.num_updates + 1):
        optimizer.zero_grad(set_to_none=True)
        model(setting.inputs).flatten(1).square().mean().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = _LEARNING_RATE * cosine_with_warmup(step, setting.num_updates + 1, 0)
        optimizer.step()
        began = began or time.perf_counter()
    return time.perf_counter() - began


def _seconds_of_fit(setting: _Setting) -> float:
    config = LoopConfig(
        num_updates=setting.num_updates + 1,
        batch_size=len(setting.inputs),
        learning_rate=_LEARNING_RATE,
        checkpoint_every_updates=setting.num_updates + 1,
        device="cpu",
        threads=torch.get_num_threads(),
        wandb="off",
    )
    ends: list[float] = []

    def note_time(update: int, model: nn.Module, ema: Ema | None) -> Mapping[str, int | float]:
        ends.append(time.perf_counter())
        return {}

    with TemporaryDirectory() as folder:
        fit(
            task=_MeanSquare(),
            model=setting.model(),
            source=_Repeating(setting.inputs),
            config=config,
            run=Run.open(Path(folder), config),
            seed=0,
            on_update=note_time,
        )
    return ends[-1] - ends[0]
