"""A captioner trained on two ranks that share its weights out is the one that a single process trains."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from llava_train import phases
from llava_train.model import load_captioner
from runtime import checkpoints
from runtime.metrics import JsonLines
from tests.llava_train import tiny
from tests.llava_train.sharded_runs import sharded_config

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SHARDINGS = ("zero2", "zero3", "fsdp2")
# Sums over ranks and microbatches add in another order: seen are 1e-7 of a loss and 1e-6 in a weight after two phases
# of six updates in float32; AdamW's first steps divide a gradient by its own size.
LOSS_TOLERANCE = {"rel": 1e-5, "abs": 1e-6}
WEIGHT_TOLERANCE = {"rtol": 1e-4, "atol": 2e-5}


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
def runs(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run under each sharding, and one under ZeRO-3 killed in its second phase and started again."""
    output = tmp_path_factory.mktemp("sharded")
    torchrun(root, output, *SHARDINGS, "zero3:9")
    killed = output / "zero3-killed"
    assert (killed / "phases" / "align" / "done.json").exists()
    assert checkpoints.latest(killed / "phases" / "instruct" / "checkpoints").update == 2
    (output / "again").mkdir()
    killed.rename(output / "again" / "zero3")
    torchrun(root, output / "again", "zero3")
    return output


@pytest.fixture(scope="module")
def alone(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run by one process."""
    output = tmp_path_factory.mktemp("alone")
    phases.fine_tune(sharded_config(root, output, "none"))
    return output


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


@pytest.mark.parametrize("sharding", SHARDINGS)
@pytest.mark.parametrize("phase", ["align", "instruct"])
def test_two_ranks_lose_what_one_process_loses(runs: Path, alone: Path, sharding: str, phase: str) -> None:
    found, wanted = lines(runs / sharding, phase), lines(alone, phase)
    assert len(found) == 6
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours == pytest.approx(theirs, **LOSS_TOLERANCE)


@pytest.mark.parametrize("sharding", SHARDINGS)
def test_the_published_captioner_is_that_of_one_process(runs: Path, alone: Path, sharding: str) -> None:
    found, wanted = (load_file(run / "export" / "model.safetensors") for run in (runs / sharding, alone))
    torch.testing.assert_close(found, wanted, **WEIGHT_TOLERANCE)
    facts = [
        json.loads((run / "done.json").read_text())["phases"]["instruct"]["data"] for run in (alone, runs / sharding)
    ]
    assert facts[0]["num_samples"] == facts[1]["num_samples"]


def test_killed_under_zero3_and_started_again_loses_the_same(runs: Path) -> None:
    for phase in ("align", "instruct"):
        files = [run / "phases" / phase / "metrics.jsonl" for run in (runs / "zero3", runs / "again" / "zero3")]
        assert files[0].read_bytes() == files[1].read_bytes()
    weights = [run / "export" / "model.safetensors" for run in (runs / "zero3", runs / "again" / "zero3")]
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
