"""Trained judges as files."""

import hashlib
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file

from eval.judge_network import Judge, JudgeName, build_judge
from runtime import atomic
from runtime.checkpoints import load_weights
from runtime.errors import UserError


def judge_path(folder: Path, name: JudgeName) -> Path:
    """Return where a judge's weights lie below the evaluation folder of the judges."""
    return folder / "judges" / f"judge_{name}.safetensors"


def save_judge(judge: Judge, folder: Path, name: JudgeName, origin: str) -> None:
    """Write a judge's weights, whole or not at all, with a note of the data and settings they come from."""
    weights = {key: value.contiguous() for key, value in judge.state_dict().items()}
    with atomic.atomic_path(judge_path(folder, name)) as partial:
        save_file(weights, partial, metadata={"origin": origin})


def load_judge(folder: Path | None, name: JudgeName) -> Judge:
    """Load a trained judge for perception; raises UserError where there is none."""
    if folder is None or not judge_path(folder, name).exists():
        raise UserError(
            "no trained judge",
            where="judges" if folder is None else str(judge_path(folder, name)),
            fix="Train them with python -m eval judges and pass their output_dir as --judges",
        )
    judge = build_judge(name)
    load_weights(judge_path(folder, name), judge)
    return judge.eval()


def comes_from(folder: Path, name: JudgeName, origin: str) -> bool:
    """Tell whether a judge was already trained on these data with these settings."""
    path = judge_path(folder, name)
    if not path.exists():
        return False
    with safe_open(path, framework="pt") as weights:
        return (weights.metadata() or {}).get("origin") == origin


def judge_sha8(folder: Path | None, name: JudgeName) -> str:
    """Return the first eight digits of the hash of a judge's weights, which scores carry in their protocol."""
    assert folder is not None, "load_judge has refused this"
    return hashlib.sha256(judge_path(folder, name).read_bytes()).hexdigest()[:8]
