"""Trainings that share weights out among ranks, several in one start of torchrun, as the phases of a captioner are.

    torchrun --nproc-per-node 2 -m tests.runtime.sharded_jobs JOBS.json

Each job ends whole, killed or refused; every rank writes how into the job's folder.
"""

import json
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from runtime import launch
from runtime.checkpoints import write_weights
from runtime.entry import run_entry
from runtime.errors import NonFiniteError
from runtime.loop import FitResult, LoopConfig, fit
from runtime.run import Run
from tests.runtime.test_resume import Killed, KillingSource
from tests.runtime.toys import KEPT, TokenTask

TINY_BUCKETS = {
    "zero_optimization": {
        "reduce_bucket_size": 300,
        "allgather_bucket_size": 300,
        "stage3_prefetch_bucket_size": 100,
        "stage3_param_persistence_threshold": 0,
    },
    "communication_data_type": "fp32",
    "data_types": {"grad_accum_dtype": "fp32"},
}
"""DeepSpeed's settings under which even a toy's weights are cut and sent in several pieces."""


class Block(nn.Module):
    """A residual block, as transformers have them."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(16), nn.Linear(16, 24), nn.Linear(24, 16)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.dropout(self.down(torch.nn.functional.gelu(self.up(self.norm(x)))))


class BlockModel(nn.Module):
    """Three blocks, the middle one frozen, between two trained layers; a buffer counts as a weight."""

    _no_split_modules = ("Block",)

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 16), nn.Linear(16, 6)
        self.blocks = nn.Sequential(Block(), Block(), Block())
        self.blocks[1].requires_grad_(False)
        self.register_buffer("scale", torch.tensor(0.5))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.blocks(self.first(x))) * self.scale


@dataclass(frozen=True)
class JobSource:
    """Spoil or end a run at one update."""

    kill_at_update: int = -1
    spoil_update: int = -1

    def build(self, config: LoopConfig) -> KillingSource:
        spoil = range(self.spoil_update * config.batch_size, self.spoil_update * config.batch_size + 1)

        class Source(KillingSource):
            def batch(self, positions):
                batch = super().batch(positions)
                if spoil.start in positions:
                    batch.rows[list(positions).index(spoil.start)] = float("nan")
                return batch

        return Source(self.kill_at_update, config.microbatch_size)


def block_config(**changes: Any) -> LoopConfig:
    defaults: dict[str, Any] = {
        "num_updates": 12,
        "batch_size": 8,
        "microbatch_size": 2,
        "learning_rate": 1e-2,
        "warmup_updates": 3,
        "weight_decay": 0.1,
        "max_grad_norm": 0.5,
        "checkpoint_every_updates": 100,
        "log_every_updates": 1,
        "device": "cpu",
        "wandb": "off",
    }
    return LoopConfig(**{**defaults, **changes})


def train_blocks(folder: Path, source: JobSource, **changes: Any) -> FitResult:
    """Train the toy in a run folder, on as many ranks as there are."""
    config = block_config(**changes)
    torch.manual_seed(1)
    return fit(
        task=TokenTask(),
        model=BlockModel(),
        source=source.build(config),
        config=config,
        run=Run.open(folder, config, identity_excludes=KEPT),
        seed=7,
        learning_rate_multipliers={"first.": 0.5},
        on_update=partial(probe, config.precision == "bf16"),
    )


@torch.no_grad()
def probe(is_bf16: bool, update: int, model: Any, ema: object) -> dict[str, float]:
    """Call parts of the model by themselves, as whoever looks at a model in training does."""
    if update % 4:
        return {}
    model.eval()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=is_bf16):
        return {"probe": float(model.last(model.blocks(model.first(torch.ones(2, 6)))).float().sum())}


def save_average(result: FitResult, folder: Path) -> None:
    """Write the averaged weights, where there are any."""
    if result.ema is not None:
        averaged = result.averaged_weights()
        if launch.is_main_process():
            write_weights(folder / "averaged.safetensors", averaged)


def _run(job: dict[str, Any]) -> str:
    changes = job["changes"]
    if "deepspeed_config" in changes:
        changes["deepspeed_config"] = Path(changes["deepspeed_config"])
    try:
        result = train_blocks(Path(job["folder"]), JobSource(**job.get("source", {})), **changes)
    except Killed:
        return "killed"
    except NonFiniteError as error:
        return f"refused: {error}"
    save_average(result, Path(job["folder"]))
    result.save_weights(Path(job["folder"]) / "final.safetensors")
    result.save_weights(Path(job["folder"]) / "blocks.safetensors", part="blocks")
    return "whole"


def main() -> None:
    for job in json.loads(Path(sys.argv[1]).read_text()):
        ending = _run(job)
        (Path(job["folder"]) / f"ending-{launch.rank()}.txt").write_text(ending)


if __name__ == "__main__":
    run_entry(main)
