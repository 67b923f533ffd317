"""Run the measurements, all or one: `python -m benchmarks [--name loading] [--output docs/benchmarks/NAME.md]`."""

import importlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from runtime.config import parse
from runtime.entry import run_entry
from runtime.errors import UserError

Name = Literal[
    "all", "loading", "attention", "text_tower", "allocator", "loop", "recaption", "recaption_gpu", "packing",
    "llava_step", "conversation_index", "resume", "caption_flags", "picture_likeness", "clip_step", "clip_step_gpu",
    "contrastive_loss", "recaption_vllm", "recaption_memory", "dit_step", "clip_suite",
]  # fmt: skip
PLACEHOLDER = "NAME"
DESCRIPTION = """Measure our ways beside others, in one run: loading (beside webdataset), attention (plain and fused, on
CPU), text_tower (beside open_clip's forward pass), allocator (beside glibc's as it comes), loop (beside one written by
hand), recaption (beside transformers' generate), recaption_vllm (beside vLLM's own), recaption_gpu (an 8B captioner
beside what its GPU can do at most),
packing (beside a row for each conversation), llava_step (beside transformers' Trainer; on a GPU where there is one),
conversation_index (beside json.load), resume (beside sets of finished ids), caption_flags (precision and recall on
planted faults), picture_likeness (pictures merged, and found again), clip_step (beside open_clip's
trainer, from tar to step), clip_step_gpu (CLIPs of published size beside open_clip's model and loss), contrastive_loss
(time and memory beside open_clip's), recaption_memory (a worker's, over many rows), dit_step (a DiT beside a plain
loop around diffusers), clip_suite (eight test sets beside CLIP_benchmark's command)."""


@dataclass(frozen=True, kw_only=True)
class BenchmarkConfig:
    """Which measurements to run, and where their pages go."""

    name: Name = "all"
    """Which to run."""
    repeats: int = 5
    """Times that each way takes its turn, after one that does not count."""
    size: Literal["full", "tiny"] = "full"
    """How much work a turn is: full takes up to a minute a measurement, tiny only shows that it runs."""
    captioner: Path | None = None
    """Published captioner that recaption and recaption_vllm begin with; none: that of runs/mini where it was trained
    here, else an untrained one."""
    vllm: Path | None = Path(".venv-vllm/bin/python")
    """Python of the environment in which recaption_vllm finds vLLM; what `make setup-vllm` makes."""
    output: Path | None = None
    """File for the page, NAME in it standing for the measurement; none prints only."""

    def __post_init__(self) -> None:
        if self.repeats < 1:
            raise UserError("out of range", where="repeats", found=self.repeats, wanted=">= 1")
        if self.name == "all" and self.output is not None and PLACEHOLDER not in self.output.name:
            fix = "Or measure one, by --name"
            wanted = f"a file name with {PLACEHOLDER} in it"
            raise UserError("all would go to one file", where="output", found=str(self.output), wanted=wanted, fix=fix)


def main() -> None:
    """Run what is asked for and print or write its pages."""
    config = parse(BenchmarkConfig, None, prog="python -m benchmarks", description=DESCRIPTION)
    for name in get_args(Name)[1:] if config.name == "all" else (config.name,):
        text = _measured_page(name, config)
        print(text, flush=True)
        if config.output is not None:
            _write(config.output.with_name(config.output.name.replace(PLACEHOLDER, name)), text)


def _measured_page(name: str, config: BenchmarkConfig) -> str:
    from benchmarks import page

    start = page.Start.now()
    import torch

    torch.set_num_threads(1)
    measurement = importlib.import_module(f"benchmarks.{name}")
    size = measurement.SIZES[config.size]
    if name in ("recaption", "recaption_vllm"):
        size = replace(size, captioner=config.captioner)
    if name == "recaption_vllm":
        size = replace(size, vllm=size.vllm and config.vllm)
    measured = measurement.measure(size, config.repeats)
    return page.compose(name, measurement.ABOUT, measured, start=start, command=page.command_line())


def _write(path: Path, text: str) -> None:
    from runtime.atomic import write_text

    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)


if __name__ == "__main__":
    run_entry(main)
