"""Tiny captioner runs on two ranks, several in one start of torchrun.

torchrun --nproc-per-node 2 -m tests.llava_train.sharded_runs ROOT OUTPUT SHARDING[+KIND][:KILL_AFTER_UPDATES] ...
"""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any, Literal

from llava_train import phases
from llava_train.config import FineTuneConfig, LoraConfig, PhaseConfig, PhaseName
from runtime.atomic import write_json
from runtime.entry import run_entry
from runtime.loop_config import LoopConfig
from tests.llava_train import tiny
from tests.runtime.sharded_jobs import TINY_BUCKETS

Sharding = Literal["none", "zero2", "zero3", "fsdp2"]
Kind = Literal["plain", "lora", "paper", "full"]
"""plain: all of a small model in float32, a conversation a microbatch; lora: adapters instead; paper and full: what
configs/llava/paper.yaml does with a published model in bfloat16, and what its header says of full fine-tuning.
"""


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


def sharded_config(root: Path, output_dir: Path, sharding: Sharding, kind: Kind = "plain") -> FineTuneConfig:
    """Return a run of one kind under one sharding, with data that mix pictures and text alone.

    The published model is in `root / "llama"`.
    """
    write_json(root / "data" / "mixed.json", [_mixed(index) for index in range(12)])
    settings: dict[str, Any] = {"sharding": sharding}
    if sharding in ("zero2", "zero3"):
        settings["deepspeed_config"] = root / "deepspeed.json"
        (root / "deepspeed.json").write_text(json.dumps(TINY_BUCKETS))
    if kind in ("plain", "lora"):
        return _small(tiny.config(root, output_dir, num_updates=6), settings, kind)
    return _like_the_paper(tiny.pretrained_config(root, output_dir, root / "llama"), settings, kind)


def _small(base: FineTuneConfig, settings: dict[str, Any], kind: Kind) -> FineTuneConfig:
    """Return a run of alignment and of instructions, one conversation a rank and update.

    Neighbours in length are one with a picture and one without, so that every update gives a rank text alone.
    """
    loop = dataclasses.replace(base.align.loop, batch_size=2, microbatch_size=1, **settings)
    lora = LoraConfig(rank=4, alpha=8, dropout=0.1) if kind == "lora" else None
    return _with(base, loop, ["align", "instruct"], tuned={"conversations": ["mixed.json"], "lora": lora})


def _like_the_paper(base: FineTuneConfig, settings: dict[str, Any], kind: Kind) -> FineTuneConfig:
    """Return a run in bfloat16, of packed rows and recomputed blocks, in which adapters follow on merged adapters."""
    precision: dict[str, Any] = {"precision": "bf16", "frozen_weights": "bf16"}
    loop = dataclasses.replace(base.align.loop, batch_size=4, microbatch_size=2, **precision, **settings)
    lean: dict[str, Any] = {"packing": True, "gradient_checkpointing": True}
    lora = LoraConfig(rank=4, alpha=8, dropout=0.05) if kind == "paper" else None
    tuned = {"conversations": ["mixed.json"], "trainable": ["projector", "language_model"], "lora": lora}
    return _with(base, loop, ["align", "instruct", "detail"], tuned=tuned, **lean)


def _with(
    base: FineTuneConfig, loop: LoopConfig, phases: list[PhaseName], *, tuned: dict[str, Any], **all_phases: Any
) -> FineTuneConfig:
    """Return a config with other settings for all phases, and some for those after alignment."""

    def change(phase: PhaseConfig, **changes: Any) -> PhaseConfig:
        return dataclasses.replace(phase, loop=loop, short_first=None, **all_phases, **changes)

    return dataclasses.replace(
        base,
        phases=phases,
        language=change(base.language),
        align=change(base.align),
        instruct=change(base.instruct, **tuned),
        detail=change(base.detail, **tuned),
    )


def _mixed(index: int) -> dict[str, object]:
    # By length: picture, text, text, picture, and so on, for either rank to come first. Where there is no picture, the
    # question is as much longer as four patches count in the reading order.
    has_picture = index % 4 in (0, 3)
    turns = [
        {"from": "human", "value": "<image>\nWhat is it?" if has_picture else "What is it? Tell the colour"},
        {"from": "gpt", "value": " ".join(["red"] * 3 * (index + 1))},
    ]
    image = {"image": f"{index}.png"} if has_picture else {}
    return {"id": f"mixed-{index}", **image, "conversations": turns}


def kill_after(num_updates: int) -> None:
    """Let the loss end the run once it has been computed so often in this process."""
    original, num_done = phases.AnswerTask.loss, 0

    def loss_until_killed(self: phases.AnswerTask, *arguments: Any, **named: Any) -> Any:
        nonlocal num_done
        if num_done == num_updates:
            phases.AnswerTask.loss = original  # type: ignore[method-assign]
            raise Killed
        num_done += 1
        return original(self, *arguments, **named)

    phases.AnswerTask.loss = loss_until_killed  # type: ignore[method-assign]


def main() -> None:
    root, output = Path(sys.argv[1]), Path(sys.argv[2])
    for run in sys.argv[3:]:
        engine, _, num_updates = run.partition(":")
        sharding, _, kind = engine.partition("+")
        name = f"{engine}-killed" if num_updates else engine
        if num_updates:
            kill_after(int(num_updates))
        try:
            phases.fine_tune(sharded_config(root, output / name, sharding, kind or "plain"))  # type: ignore[arg-type]
        except Killed:
            continue


if __name__ == "__main__":
    run_entry(main)
