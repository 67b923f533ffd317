"""Tiny captioner runs on two ranks, several in one start of torchrun.

torchrun --nproc-per-node 2 -m tests.llava_train.sharded_runs ROOT OUTPUT SHARDING[:KILL_AFTER_UPDATES] ...
"""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any, Literal

from llava_train import phases
from llava_train.config import FineTuneConfig, PhaseConfig
from runtime.atomic import write_json
from runtime.entry import run_entry
from tests.llava_train import tiny
from tests.runtime.sharded_jobs import TINY_BUCKETS

Sharding = Literal["none", "zero2", "zero3", "fsdp2"]


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


def sharded_config(root: Path, output_dir: Path, sharding: Sharding) -> FineTuneConfig:
    """Return a run of alignment and of instructions mixed with text alone, one conversation a rank and update.

    Neighbours in length are one with a picture and one without, so that every update gives a rank text alone.
    """
    write_json(root / "data" / "mixed.json", [_mixed(index) for index in range(12)])
    base = tiny.config(root, output_dir, num_updates=6)
    settings: dict[str, Any] = {"sharding": sharding}
    if sharding in ("zero2", "zero3"):
        settings["deepspeed_config"] = root / "deepspeed.json"
        (root / "deepspeed.json").write_text(json.dumps(TINY_BUCKETS))
    loop = dataclasses.replace(base.align.loop, batch_size=2, microbatch_size=1, **settings)

    def with_loop(phase: PhaseConfig, **changes: Any) -> PhaseConfig:
        return dataclasses.replace(phase, loop=loop, short_first=None, **changes)

    return dataclasses.replace(
        base,
        phases=["align", "instruct"],
        language=with_loop(base.language),
        align=with_loop(base.align),
        instruct=with_loop(base.instruct, conversations=["mixed.json"]),
        detail=with_loop(base.detail),
    )


def _mixed(index: int) -> dict[str, object]:
    # By length: picture, text, text, picture, and so on, for either rank to come first.
    has_picture = index % 4 in (0, 3)
    turns = [
        {"from": "human", "value": ("<image>\n" if has_picture else "") + "What is it?"},
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
        sharding, _, num_updates = run.partition(":")
        name = f"{sharding}-killed" if num_updates else sharding
        if num_updates:
            kill_after(int(num_updates))
        try:
            phases.fine_tune(sharded_config(root, output / name, sharding))  # type: ignore[arg-type]
        except Killed:
            continue


if __name__ == "__main__":
    run_entry(main)
