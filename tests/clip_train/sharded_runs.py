"""Several CLIP trainings in one start of torchrun, each whole or killed: a process group takes seconds to start.

    torchrun --nproc-per-node 2 -m tests.clip_train.sharded_runs RUNS.json

RUNS.json lists {"config": YAML file, "stop_after": updates or null}.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from clip_train import train as training
from clip_train.config import ClipTrainConfig
from runtime import launch
from runtime.config import load
from runtime.entry import run_entry


class Stopped(Exception):
    """The run was ended from outside."""


def run(config: ClipTrainConfig, stop_after: int | None) -> str:
    """Train, and return how many of the model's tensors were spread over the ranks while it trained."""
    bound = training.bound_logit_scale
    spread: list[int] = []

    def watched(step: int, model: nn.Module, ema: Any) -> Any:
        spread.append(sum(isinstance(weight, DTensor) for weight in model.parameters()))
        if step == stop_after:
            raise Stopped
        return bound(step, model, ema)

    training.bound_logit_scale = watched
    try:
        training.train(config)
    except Stopped:
        return "stopped"
    finally:
        training.bound_logit_scale = bound
    return f"whole, {max(spread)} spread"


def main() -> None:
    torch.use_deterministic_algorithms(True)
    for one in json.loads(Path(sys.argv[1]).read_text()):
        config = load(ClipTrainConfig, Path(one["config"]))
        ending = run(config, one["stop_after"])
        Path(f"{one['config']}.ending-{launch.rank()}").write_text(ending)


if __name__ == "__main__":
    run_entry(main)
