"""Training steps of a small image tower on CPU: glibc's malloc as it comes, and told to keep what is freed."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.race import Contender, race, table
from openrecap.processes import JOB_MEMORY, KEEP_FREED_MEMORY

ABOUT = """\
Forward and backward passes of a CLIP's image tower on CPU, bf16 autocast, 48 px, one thread, each turn in a process of
its own. "glibc" is glibc's malloc as it comes; "kept" does not hand freed memory back to the kernel; "kept, large
pages" asks besides for pages of 2 MiB, as `make reproduce` has its jobs do (`JOB_MEMORY` of openrecap/processes.py).
Seconds are the processor's, so that other work on the machine counts less."""

STEPS = """
import sys, time
import torch
from clip_train.architecture import build_model, model_config
from clip_train.presets import find_preset

name, batch_size, num_steps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
torch.set_num_threads(1)
config = model_config(find_preset(name), image_size_px=48, vocab_size=2600, context_length=80)
tower = build_model(config, seed=0).visual
images = torch.randn(batch_size, 3, 48, 48)


def step():
    with torch.autocast("cpu", torch.bfloat16):
        features = tower(images)
    features.float().square().mean().backward()


step()
began = time.process_time()
for _ in range(num_steps):
    step()
print(time.process_time() - began)
"""


@dataclass(frozen=True, kw_only=True)
class Size:
    """What is computed."""

    models: tuple[str, ...] = ("b_base", "b_large")
    batch_size: int = 256
    num_steps: int = 20


SIZES = {"full": Size(), "tiny": Size(models=("s_small",), batch_size=4, num_steps=1)}


def measure(size: Size, repeats: int) -> str:
    """Return a table for each model."""
    ways: Mapping[str, Mapping[str, str]] = {"glibc": {}, "kept": KEEP_FREED_MEMORY, "kept, large pages": JOB_MEMORY}
    parts = []
    for name in size.models:
        contenders = [
            Contender(name=way, seconds=_turn(name, size, settings), num_items=size.batch_size * size.num_steps)
            for way, settings in ways.items()
        ]
        parts.append(
            f"{name}, batches of {size.batch_size}:\n\n{table(race(contenders, repeats=repeats), unit='images')}"
        )
    return "\n\n".join(parts)


def _turn(model: str, size: Size, settings: Mapping[str, str]) -> Callable[[], float]:
    inherited = {name: value for name, value in os.environ.items() if name not in JOB_MEMORY}
    command = [sys.executable, "-c", STEPS, model, str(size.batch_size), str(size.num_steps)]

    def seconds() -> float:
        done = subprocess.run(command, env={**inherited, **settings}, check=True, capture_output=True, text=True)
        return float(done.stdout)

    return seconds
