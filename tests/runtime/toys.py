"""Three toy trainings, small but of the kinds that the stages are: token loss, contrastive, diffusion."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from runtime import seeds
from runtime.loop import FitResult, LoopConfig, fit
from runtime.run import Run
from runtime.task import LossSum

NUM_SAMPLES = 40
"""With 8 a batch an epoch is five updates, so that twelve updates cross two ends."""


@dataclass(frozen=True)
class ToyBatch:
    keys: tuple[str, ...]
    rows: Tensor
    lengths: Tensor


class ToySource:
    """Shuffled epochs over a fixed table, addressed by global position."""

    def __init__(self, batch_size: int, microbatch_size: int | None, name: str = "toy"):
        self.batch_size, self.microbatch_size, self.name = batch_size, microbatch_size, name
        self.rows = torch.randn(NUM_SAMPLES, 6, generator=seeds.torch_generator("toy rows"))
        self.lengths = torch.randint(1, 7, (NUM_SAMPLES,), generator=seeds.torch_generator("toy lengths"))

    def sample(self, position: int) -> int:
        epoch, offset = divmod(position, NUM_SAMPLES)
        return int(torch.randperm(NUM_SAMPLES, generator=seeds.torch_generator("order", epoch))[offset])

    def updates(self, start_update: int, *, rank: int, world_size: int) -> Iterator[Sequence[ToyBatch]]:
        share = self.batch_size // world_size
        size = self.microbatch_size or share
        step = start_update
        while True:
            first = step * self.batch_size + rank * share
            yield [self.batch(range(begin, begin + size)) for begin in range(first, first + share, size)]
            step += 1

    def batch(self, positions: Sequence[int]) -> ToyBatch:
        chosen = [self.sample(position) for position in positions]
        return ToyBatch(tuple(f"toy/{index}" for index in chosen), self.rows[chosen], self.lengths[chosen])

    def fingerprint(self) -> str:
        return self.name

    def audit(self) -> dict[str, object]:
        return {}


class ToyModel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 16), nn.GELU(), nn.Dropout(0.1), nn.LayerNorm(16))
        self.head = nn.Linear(16, 6)
        self.logit_scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


class TokenTask:
    """Squared error on the first `length` entries of each row: uneven counts."""

    def count(self, batch: ToyBatch) -> int:
        return int(batch.lengths.sum())

    def loss(self, model: nn.Module, batch: ToyBatch, step: int, generator: torch.Generator) -> LossSum:
        mask = torch.arange(6) < batch.lengths[:, None]
        errors = (model(batch.rows).float() - batch.rows.roll(1, 1)) ** 2 * mask
        return LossSum(total=errors.sum(), metrics={"absolute_error": errors.detach().sqrt().sum()})


class DiffusionTask:
    """Predict the noise that was mixed in at a random time."""

    def count(self, batch: ToyBatch) -> int:
        return batch.rows.numel()

    def loss(self, model: nn.Module, batch: ToyBatch, step: int, generator: torch.Generator) -> LossSum:
        noise = torch.randn(batch.rows.shape, generator=generator)
        t = torch.rand(len(batch.rows), 1, generator=generator)
        predicted = model((1 - t) * batch.rows + t * noise).float()
        return LossSum(total=((predicted - noise) ** 2).sum())


class ContrastiveTask:
    """Match two noisy views of a row against all others in the global batch."""

    def count(self, batch: ToyBatch) -> int:
        return len(batch.rows)

    def features(self, model: Any, batch: ToyBatch, step: int, generator: torch.Generator) -> dict[str, Tensor]:
        noise = 0.3 * torch.randn(batch.rows.shape, generator=generator)
        first, second = model(batch.rows), model(batch.rows + noise)
        return {
            "first": F.normalize(first.float(), dim=-1),
            "second": F.normalize(second.float(), dim=-1),
            "logit_scale": model.logit_scale.exp(),
        }

    def coupled_loss(self, features: dict[str, Tensor], step: int, mine: slice) -> LossSum:
        logits = features["logit_scale"] * features["first"] @ features["second"].T
        targets = torch.arange(len(logits))[mine]
        rows, columns = logits[mine], logits.T[mine]
        total = F.cross_entropy(rows, targets, reduction="sum") + F.cross_entropy(columns, targets, reduction="sum")
        correct = (rows.argmax(1) == targets).float().detach()
        even = (targets % 2 == 0).float()
        shares = {"correct_even": ((correct * even).sum(), even.sum())}
        return LossSum(total=total / 2, metrics={"correct": correct.sum()}, shares=shares)


KEPT = ("checkpoint_every_updates",)
"""What may change between two starts of a toy run."""

TASKS = {"token": TokenTask, "contrastive": ContrastiveTask, "diffusion": DiffusionTask}


def loop_config(**changes: Any) -> LoopConfig:
    defaults: dict[str, Any] = {
        "num_updates": 12,
        "batch_size": 8,
        "learning_rate": 1e-2,
        "warmup_updates": 3,
        "weight_decay": 0.1,
        "ema_decay": 0.9,
        "checkpoint_every_updates": 100,
        "log_every_updates": 4,
        "wandb": "off",
    }
    return LoopConfig(**{**defaults, **changes})


def train(task: str, folder: Path, source: Any = None, **changes: Any) -> FitResult:
    """Train a toy in a run folder."""
    config = loop_config(**changes)
    torch.manual_seed(1)
    model = ToyModel()
    if task != "contrastive":
        model.logit_scale.requires_grad_(False)
    return fit(
        task=TASKS[task](),
        model=model,
        source=source or ToySource(config.batch_size, config.microbatch_size),
        config=config,
        run=Run.open(folder, config, identity_excludes=KEPT),
        seed=7,
    )
