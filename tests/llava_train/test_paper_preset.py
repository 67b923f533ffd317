"""The paper's own preset, its data and models alone made small: adapters after adapters, packed, in bfloat16."""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from llava_train import phases
from llava_train.config import FineTuneConfig
from runtime.config import load
from tests.llava_train import published, tiny

PRESET = Path(__file__).parents[2] / "configs" / "llava" / "paper.yaml"
PHASES = ("align", "instruct", "detail")


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published.write_llama(tmp_path_factory.mktemp("published") / "llama")


@pytest.fixture(scope="module")
def undisturbed(root: Path, llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    phases.fine_tune(small(root, run, llama))
    return run


def small(root: Path, run: Path, llama: Path) -> FineTuneConfig:
    """Return the preset on one CPU: its phases, templates, adapters, packing, recomputation, rates and precision.

    Three updates a phase of two microbatches each, a checkpoint after the second.
    """
    settings = {
        "output_dir": run,
        "data": root / "data",
        "vision_tower": root / "clip",
        "pretrained_language_model": llama,
        "max_length_tokens": 128,
        "num_workers": 0,
    }
    loop = {
        "num_updates": 3, "warmup_updates": 1, "batch_size": 8, "microbatch_size": 4, "checkpoint_every_updates": 2,
        "sharding": "none", "threads": 1, "device": "cpu", "wandb": "off",
    }  # fmt: skip
    for phase in PHASES:
        settings |= {f"{phase}.loop.{name}": value for name, value in loop.items()}
        settings[f"{phase}.conversations"] = f"[{phase}.json, text.json]" if phase == "instruct" else f"[{phase}.json]"
    return load(FineTuneConfig, PRESET, overrides=[f"--{name}={value}" for name, value in settings.items()])


def left_by(run: Path, phase: str) -> Mapping[str, Tensor]:
    return load_file(run / "phases" / phase / phases.WEIGHTS)


def test_alignment_moves_the_projector_and_the_others_the_language_model_too(undisturbed: Path) -> None:
    moved = []
    for before, after in pairwise(left_by(undisturbed, phase) for phase in PHASES):
        assert before.keys() == after.keys()
        # What an earlier phase merged is rounded to bfloat16 where it is frozen again.
        moved.append({name for name in after if not torch.equal(before[name].bfloat16(), after[name].bfloat16())})
    for names in moved:
        kinds = {name.removeprefix("model.").split(".")[0] for name in names}
        assert kinds == {"multi_modal_projector", "language_model"}
        assert not [name for name in names if "embed_tokens" in name or "norm" in name]


def test_the_base_models_weights_come_through_alignment(undisturbed: Path, root: Path, llama: Path) -> None:
    aligned, base = left_by(undisturbed, "align"), load_file(llama / "model.safetensors")
    for name, tensor in base.items():
        if "layers." in name:
            assert torch.equal(aligned[f"model.language_model.{name.removeprefix('model.')}"].float(), stored(tensor))
    patches = "embeddings.patch_embedding.weight"
    tower = load_file(root / "clip" / "model.safetensors")
    seen = next(tensor for name, tensor in left_by(undisturbed, "detail").items() if name.endswith(patches))
    assert torch.equal(seen.float(), stored(tower[f"vision_model.{patches}"]))


def stored(tensor: Tensor) -> Tensor:
    """Return a frozen weight as the preset stores it: matrices in bfloat16."""
    return tensor.bfloat16().float() if tensor.ndim >= 2 else tensor


def test_kills_in_a_phase_between_two_and_in_the_last_change_no_weight(
    undisturbed: Path, root: Path, llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small(root, tmp_path / "run", llama)
    # Of six losses a phase: in alignment's third update, before the first of the last phase, and in its third update.
    for num_losses in (5, 2 + 6, 5):
        tiny.kill_after(monkeypatch, num_losses, lambda: phases.fine_tune(config))
    continued, wanted = (
        load_file(folder / "model.safetensors") for folder in (phases.fine_tune(config), undisturbed / "export")
    )
    assert continued.keys() == wanted.keys()
    assert all(torch.equal(continued[name], wanted[name]) for name in wanted)
    assert {tensor.dtype for tensor in wanted.values()} == {torch.bfloat16}
