"""Two ranks that share the weights out train as one process does, stop, continue and refuse as it does."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from runtime import checkpoints
from runtime.metrics import JsonLines
from tests.runtime.sharded_jobs import TINY_BUCKETS, BlockModel, JobSource, save_average, train_blocks

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SHARDINGS = ("zero2", "zero3", "fsdp2")
# Sums over ranks and microbatches add in another order, and DeepSpeed's clipping adds 1e-6 to the norm: seen are 3e-7
# in a loss and 1.2e-7 in a weight after twelve updates in float32.
LOSS_TOLERANCE = {"rel": 1e-5, "abs": 1e-6}
WEIGHT_TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}
# bfloat16 keeps 8 bits: weights are rounded to it before they are multiplied, by DeepSpeed those of norms too.
BF16_LOSS_TOLERANCE = {"rel": 2e-2, "abs": 1e-2}


def torchrun(jobs: Sequence[dict[str, Any]], folder: Path, num_ranks: int = 2) -> subprocess.CompletedProcess[str]:
    file = folder / f"jobs-{len(list(folder.glob('jobs-*')))}.json"
    file.write_text(json.dumps(jobs))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(num_ranks)]
    return subprocess.run(
        [*launcher, "-m", "tests.runtime.sharded_jobs", str(file)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def job(folder: Path, sharding: str, source: dict[str, int] | None = None, **changes: Any) -> dict[str, Any]:
    settings = {"ema_decay": 0.9} if sharding == "fsdp2" else {"deepspeed_config": str(folder.parent / "tiny.json")}
    return {
        "folder": str(folder),
        "source": source or {},
        "changes": {"sharding": sharding, **settings, **changes},
    }


def in_bf16(folder: Path, sharding: str) -> dict[str, Any]:
    """With the settings that lie in configs/deepspeed."""
    changes = {"sharding": sharding, "precision": "bf16", "frozen_weights": "bf16"}
    return {"folder": str(folder), "changes": changes}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All runs of this file: whole ones; others killed at update 7, and continued by a second start."""
    folder = tmp_path_factory.mktemp("sharded")
    (folder / "tiny.json").write_text(json.dumps(TINY_BUCKETS))
    jobs = []
    for sharding in SHARDINGS:
        jobs.append(job(folder / f"{sharding}-whole", sharding))
        jobs.append(job(folder / f"{sharding}-broken", sharding, {"kill_at_update": 7}, checkpoint_every_updates=5))
        jobs.append(job(folder / f"{sharding}-spoiled", sharding, {"spoil_update": 2}))
        jobs.append(in_bf16(folder / f"{sharding}-bf16", sharding))
    first = torchrun(jobs, folder)
    assert first.returncode == 0, first.stderr
    again = torchrun([job(folder / f"{s}-broken", s, checkpoint_every_updates=5) for s in SHARDINGS], folder)
    assert again.returncode == 0, again.stderr
    return folder


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same trainings by one process that shares nothing."""
    folder = tmp_path_factory.mktemp("alone")
    for name, changes in (("fp32", {"ema_decay": 0.9}), ("bf16", {"precision": "bf16", "frozen_weights": "bf16"})):
        result = train_blocks(folder / name, JobSource(), **changes)
        result.save_weights(folder / name / "final.safetensors")
        save_average(result, folder / name)
    return folder


def lines(folder: Path) -> list[dict[str, float]]:
    return list(JsonLines(folder / "metrics.jsonl").rows())


@pytest.mark.parametrize("sharding", SHARDINGS)
def test_two_ranks_lose_what_one_process_loses(runs: Path, alone: Path, sharding: str) -> None:
    found, wanted = lines(runs / f"{sharding}-whole"), lines(alone / "fp32")
    assert len(found) == 12 + 3 and sum("probe" in row for row in found) == 3
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours == pytest.approx(theirs, **LOSS_TOLERANCE)


@pytest.mark.parametrize("sharding", SHARDINGS)
def test_the_saved_weights_are_whole_and_those_of_one_process(runs: Path, alone: Path, sharding: str) -> None:
    found, wanted = (load_file(f / "final.safetensors") for f in (runs / f"{sharding}-whole", alone / "fp32"))
    torch.testing.assert_close(found, wanted, **WEIGHT_TOLERANCE)
    torch.manual_seed(1)
    start = BlockModel().state_dict()
    frozen = [name for name in start if name.startswith("blocks.1.") or name == "scale"]
    assert len(frozen) == 7 and found.keys() == start.keys()
    for name, tensor in start.items():
        assert torch.equal(found[name], tensor) == (name in frozen)
    part = load_file(runs / f"{sharding}-whole" / "blocks.safetensors")
    assert set(part) == {name.removeprefix("blocks.") for name in start if name.startswith("blocks.")}
    assert all(torch.equal(tensor, found[f"blocks.{name}"]) for name, tensor in part.items())


@pytest.mark.parametrize("sharding", SHARDINGS)
def test_killed_and_continued_is_bit_identical(runs: Path, sharding: str) -> None:
    whole, broken = runs / f"{sharding}-whole", runs / f"{sharding}-broken"
    assert (whole / "metrics.jsonl").read_bytes() == (broken / "metrics.jsonl").read_bytes()
    found = [checkpoints.latest(folder / "checkpoints") for folder in (whole, broken)]
    assert [c.update for c in found] == [12, 12] and found[0].model_sha256 == found[1].model_sha256


def test_the_average_is_that_of_one_process_and_survives_a_stop(runs: Path, alone: Path) -> None:
    whole, broken, wanted = (
        load_file(folder / "averaged.safetensors")
        for folder in (runs / "fsdp2-whole", runs / "fsdp2-broken", alone / "fp32")
    )
    torch.testing.assert_close(whole, wanted, **WEIGHT_TOLERANCE)
    assert all(torch.equal(whole[name], broken[name]) for name in whole)
    last = load_file(runs / "fsdp2-whole" / "final.safetensors")
    assert any(not torch.equal(whole[name], last[name]) for name in whole)


@pytest.mark.parametrize("sharding", SHARDINGS)
def test_a_checkpoint_holds_whole_weights_and_one_part_for_each_rank(runs: Path, sharding: str) -> None:
    checkpoint = checkpoints.latest(runs / f"{sharding}-whole" / "checkpoints")
    names = {"model.safetensors", "training_state.pt", "manifest.json", "optimizer-0-of-2.pt", "optimizer-1-of-2.pt"}
    assert {path.name for path in checkpoint.folder.iterdir()} == names
    model = BlockModel()
    checkpoints.load_weights(checkpoint.folder / "model.safetensors", model)
    final = load_file(runs / f"{sharding}-whole" / "final.safetensors")
    torch.testing.assert_close(dict(model.state_dict()), final, rtol=0, atol=0)
    halves = [numel(checkpoints.load_state(checkpoint, rank)["optimizer"]) for rank in (0, 1)]
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    # AdamW's two moments, beside them DeepSpeed's float32 weights or the average; some padding, and a counter for each
    # tensor.
    copies = 3
    assert copies * trained <= sum(halves) <= 1.2 * copies * trained and max(halves) < 0.7 * sum(halves)


def numel(state: Any) -> int:
    """Count the numbers in nested plain types, those that share memory once."""
    found: dict[int, int] = {}

    def visit(item: Any) -> None:
        if isinstance(item, torch.Tensor):
            found[item.data_ptr()] = item.numel()
        for inner in item.values() if isinstance(item, dict) else item if isinstance(item, (list, tuple)) else ():
            visit(inner)

    visit(state)
    return sum(found.values())


@pytest.mark.parametrize("sharding", SHARDINGS)
def test_a_loss_that_is_not_finite_is_refused_by_every_rank(runs: Path, sharding: str) -> None:
    endings = [(runs / f"{sharding}-spoiled" / f"ending-{rank}.txt").read_text() for rank in (0, 1)]
    assert endings[0] == endings[1]
    assert endings[0].startswith("refused: step 2: loss nan, gradient norm n")
    keys = JobSource().build(block_keys()).batch(range(16, 18)).keys
    assert endings[0].endswith(f"the update was not taken. Samples: {', '.join(keys)}")


def block_keys() -> Any:
    from tests.runtime.sharded_jobs import block_config

    return block_config()


@pytest.mark.parametrize("sharding", SHARDINGS)
def test_bfloat16_is_near_one_process_and_keeps_trained_weights_in_float32(
    runs: Path, alone: Path, sharding: str
) -> None:
    for ours, theirs in zip(lines(runs / f"{sharding}-bf16"), lines(alone / "bf16"), strict=True):
        assert ours == pytest.approx(theirs, **BF16_LOSS_TOLERANCE)
    final = load_file(runs / f"{sharding}-bf16" / "final.safetensors")
    trained = {name: tensor for name, tensor in final.items() if not name.startswith("blocks.1.")}
    assert {tensor.dtype for tensor in trained.values()} == {torch.float32}
    assert final["blocks.1.up.weight"].dtype == torch.bfloat16
    # Not bfloat16's values in float32's clothes.
    assert not torch.equal(final["first.weight"], final["first.weight"].bfloat16().float())


def test_another_number_of_processes_is_refused_in_one_line(runs: Path) -> None:
    done = torchrun([job(runs / "zero3-broken", "zero3", checkpoint_every_updates=5)], runs, num_ranks=1)
    (said,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "is shared out to another number of processes: found 2, wanted 1. Continue it on as many" in said


def test_one_process_may_share_with_nobody(runs: Path, alone: Path) -> None:
    done = torchrun([job(runs / f"{sharding}-one", sharding) for sharding in SHARDINGS], runs, num_ranks=1)
    assert done.returncode == 0, done.stderr
    for sharding in SHARDINGS:
        for ours, theirs in zip(lines(runs / f"{sharding}-one"), lines(alone / "fp32"), strict=True):
            assert ours == pytest.approx(theirs, **LOSS_TOLERANCE)
