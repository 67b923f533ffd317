"""A captioner trained on two ranks that share its weights out is the one that a single process trains."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
import torch
from safetensors.torch import load_file

from llava_train import phases
from llava_train.model import load_captioner
from runtime import checkpoints
from runtime.metrics import JsonLines
from tests.llava_train import published, tiny
from tests.llava_train.sharded_runs import Kind, sharded_config

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SHARDINGS = ("zero2", "zero3", "fsdp2")
IN_FLOAT32 = (*SHARDINGS, *(f"{sharding}+lora" for sharding in SHARDINGS))
IN_BFLOAT16 = (*(f"{sharding}+paper" for sharding in SHARDINGS), "zero3+full", "fsdp2+full")
KILLED = ("zero3", "zero3+lora")
# Sums over ranks and microbatches add in another order: seen are 1e-7 of a loss and, in a weight after two phases of
# six updates in float32, 1e-6, with adapters 5e-6; AdamW's first steps divide a gradient by its own size.
LOSS_TOLERANCE = {"rel": 1e-5, "abs": 1e-6}
WEIGHT_TOLERANCE = {"rtol": 1e-4, "atol": 2e-5}
# bfloat16 keeps 8 bits, and DeepSpeed rounds norms to it too; those steps of AdamW then go either way.
BF16_LOSS_TOLERANCE = {"rel": 2e-2, "abs": 1e-2}


def torchrun(*arguments: object) -> None:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launcher, "-m", "tests.llava_train.sharded_runs", *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def place(root: Path) -> Path:
    """The inputs of all runs, with a model published in bfloat16."""
    published.write_llama(root / "llama", dtype=torch.bfloat16)
    return root


@pytest.fixture(scope="module")
def runs(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run of each kind, and two under ZeRO-3 killed in their second phase and started again."""
    output = tmp_path_factory.mktemp("sharded")
    torchrun(place, output, *IN_FLOAT32, *IN_BFLOAT16, *(f"{name}:9" for name in KILLED))
    (output / "again").mkdir()
    for name in KILLED:
        killed = output / f"{name}-killed"
        assert (killed / "phases" / "align" / "done.json").exists()
        assert checkpoints.latest(killed / "phases" / "instruct" / "checkpoints").update == 2
        killed.rename(output / "again" / name)
    torchrun(place, output / "again", *KILLED)
    return output


@pytest.fixture(scope="module")
def alone(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same runs by one process."""
    output = tmp_path_factory.mktemp("alone")
    for kind in get_args(Kind):
        phases.fine_tune(sharded_config(place, output / kind, "none", kind))
    return output


def kind_of(run: str) -> str:
    return run.partition("+")[2] or "plain"


def lines(run: Path, phase: str) -> list[dict[str, float]]:
    return list(JsonLines(run / "phases" / phase / "metrics.jsonl").rows())


def test_every_update_of_the_second_phase_gives_one_rank_text_alone(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the other tests are about: otherwise they would prove nothing."""
    has_image = []
    original = phases.AnswerTask.loss

    def noting(self, model, batch, *others):
        has_image.append(batch.images is not None)
        return original(self, model, batch, *others)

    monkeypatch.setattr(phases.AnswerTask, "loss", noting)
    phases.fine_tune(sharded_config(root, tmp_path, "none"))
    by_update = list(zip(has_image[12::2], has_image[13::2], strict=True))
    assert len(by_update) == 6 and set(by_update) == {(True, False), (False, True)}


@pytest.mark.parametrize("run", IN_FLOAT32)
@pytest.mark.parametrize("phase", ["align", "instruct"])
def test_two_ranks_lose_what_one_process_loses(runs: Path, alone: Path, run: str, phase: str) -> None:
    found, wanted = lines(runs / run, phase), lines(alone / kind_of(run), phase)
    assert len(found) == 6
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours == pytest.approx(theirs, **LOSS_TOLERANCE)


@pytest.mark.parametrize("run", IN_FLOAT32)
def test_the_published_captioner_is_that_of_one_process(runs: Path, alone: Path, run: str) -> None:
    """With adapters, which are merged then and nowhere left."""
    places = (runs / run, alone / kind_of(run))
    found, wanted = (load_file(place / "export" / "model.safetensors") for place in places)
    torch.testing.assert_close(found, wanted, **WEIGHT_TOLERANCE)
    facts = [json.loads((place / "done.json").read_text())["phases"]["instruct"]["data"] for place in places]
    assert facts[0]["num_samples"] == facts[1]["num_samples"]
    assert [file.name for file in (runs / run / "phases" / "instruct").glob("*.safetensors")] == [phases.WEIGHTS]


@pytest.mark.parametrize("run", IN_BFLOAT16)
@pytest.mark.parametrize("phase", ["align", "instruct", "detail"])
def test_the_papers_settings_lose_nearly_what_one_process_loses(runs: Path, alone: Path, run: str, phase: str) -> None:
    found, wanted = lines(runs / run, phase), lines(alone / kind_of(run), phase)
    assert len(found) == 3
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], **BF16_LOSS_TOLERANCE)


@pytest.mark.parametrize("run", IN_BFLOAT16)
def test_only_what_trains_leaves_the_published_weights(place: Path, runs: Path, run: str) -> None:
    """From file to file, through three phases that all build the captioner anew."""
    published_weights = load_file(place / "llama" / "model.safetensors")
    found = load_file(runs / run / "export" / "model.safetensors")
    moved = {
        name
        for name, tensor in published_weights.items()
        if not torch.equal(found[f"language_model.{name}"][: len(tensor)], tensor)
    }
    adapted = {name for name in published_weights if "_proj" in name}
    assert moved == (adapted if "paper" in run else set(published_weights))
    left = load_file(runs / run / "phases" / "detail" / phases.WEIGHTS)
    # Merged or trained in float32, whatever is published.
    assert left["model.language_model.layers.0.mlp.up_proj.weight"].dtype == torch.float32


@pytest.mark.parametrize("run", KILLED)
def test_killed_under_zero3_and_started_again_loses_the_same(runs: Path, run: str) -> None:
    whole, broken = runs / run, runs / "again" / run
    for phase in ("align", "instruct"):
        files = [folder / "phases" / phase / "metrics.jsonl" for folder in (whole, broken)]
        assert files[0].read_bytes() == files[1].read_bytes()
    weights = [folder / "export" / "model.safetensors" for folder in (whole, broken)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_a_zero3_checkpoint_is_published_as_one_directory(runs: Path) -> None:
    captioner = load_captioner(runs / "zero3" / "export", device="cpu")
    image = tiny.Image.new("RGB", (20, 20), tiny.COLOURS["red"])
    (answer,) = captioner.answer([image], [tiny.PAPER_PROMPT], max_new_tokens=4)
    assert isinstance(answer, str)
    phase = runs / "zero3" / "phases" / "instruct"
    checkpoint = checkpoints.latest(phase / "checkpoints")
    assert checkpoint.num_parts == 2
    saved = load_file(checkpoint.folder / checkpoints.MODEL_FILE)
    left = load_file(phase / phases.WEIGHTS)
    assert all(torch.equal(saved[f"llava.{name}"], tensor) for name, tensor in left.items())
