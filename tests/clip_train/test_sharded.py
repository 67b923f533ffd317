"""Two ranks that share the weights out (FSDP2) train as two that each hold them whole (DDP), stop and publish alike."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from clip_train.config import ClipTrainConfig
from clip_train.model import load_encoder
from runtime import checkpoints
from runtime.config import to_yaml
from runtime.loop_config import LoopConfig
from runtime.metrics import JsonLines
from tests.clip_train.test_model_files import small
from tests.clip_train.test_train import config_of, web, weights

__all__ = ["web"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

LAUNCHER = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
MODELS = ("Recap-CLIP-L-16", "Recap-CLIP-L-16-masked")
NUM_UPDATES, STOP_AFTER = 4, 3
# GradCache's two passes and three microbatches a rank; the large epsilon keeps AdamW from blowing up what sums in
# another order differ by.
LOOP = LoopConfig(
    num_updates=NUM_UPDATES, batch_size=12, microbatch_size=2, learning_rate=1e-3, epsilon=1e-3, weight_decay=0.2,
    max_grad_norm=0.5, checkpoint_every_updates=2, log_every_updates=1, device="cpu", wandb="off",
)  # fmt: skip


def torchrun(folder: Path, runs: list[tuple[Path, int | None]]) -> None:
    file = folder / f"runs-{len(list(folder.glob('runs-*')))}.json"
    file.write_text(json.dumps([{"config": str(config), "stop_after": stop} for config, stop in runs]))
    done = subprocess.run(
        [sys.executable, *LAUNCHER, "-m", "tests.clip_train.sharded_runs", str(file)],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def runs(web: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All runs of this file: each model in both ways, and sharded ones that are stopped, and then continued."""
    folder = tmp_path_factory.mktemp("sharded")
    files: dict[str, Path] = {}
    for model in MODELS:
        for name, sharding in (("ddp", "none"), ("fsdp2", "fsdp2"), ("stopped", "fsdp2")):
            config = _config(web, folder / model / name, str(small(model, folder)), sharding)
            files[f"{model}/{name}"] = folder / model / f"{name}.yaml"
            files[f"{model}/{name}"].parent.mkdir(exist_ok=True)
            files[f"{model}/{name}"].write_text(to_yaml(config))
    torchrun(folder, [(file, STOP_AFTER if name.endswith("stopped") else None) for name, file in files.items()])
    torchrun(folder, [(file, None) for name, file in files.items() if name.endswith("stopped")])
    return folder


def _config(web: Path, output_dir: Path, model: str, sharding: str) -> ClipTrainConfig:
    loop = replace(LOOP, sharding=sharding)  # type: ignore[arg-type]
    return config_of(web, output_dir, model=model, loop=loop, open_clip_checkpoint=True)


@pytest.mark.parametrize("model", MODELS)
def test_weights_are_spread_over_the_ranks(runs: Path, model: str) -> None:
    endings = {file.name.split(".")[0]: file.read_text() for file in (runs / model).glob("*.ending-*")}
    num_weights = len([name for name in weights(runs / model / "fsdp2") if name != "logit_scale"])
    assert endings["ddp"] == "whole, 0 spread"
    assert endings["fsdp2"] == endings["stopped"] == f"whole, {num_weights} spread"


@pytest.mark.parametrize("model", MODELS)
def test_sharing_weights_out_changes_nothing(runs: Path, model: str) -> None:
    rows = [list(JsonLines(runs / model / name / "metrics.jsonl").rows()) for name in ("ddp", "fsdp2")]
    assert [row["update"] for row in rows[1]] == list(range(1, NUM_UPDATES + 1))
    for whole, shared in zip(*rows, strict=True):
        assert shared == pytest.approx(whole, rel=1e-5, abs=1e-6)
    whole, shared = weights(runs / model / "ddp"), weights(runs / model / "fsdp2")
    # Sums run in another order, in float32.
    torch.testing.assert_close(shared, whole, rtol=1e-5, atol=1e-6)
    assert shared["logit_scale"] != pytest.approx(weights_at_start(), abs=1e-7)


def weights_at_start() -> float:
    """Return the logarithm of the scale that models begin with."""
    return float(torch.tensor(1 / 0.07).log())


@pytest.mark.parametrize("model", MODELS)
def test_stopped_and_continued_it_ends_bit_identical(runs: Path, model: str) -> None:
    whole, stopped = (runs / model / name for name in ("fsdp2", "stopped"))
    assert (whole / "metrics.jsonl").read_bytes() == (stopped / "metrics.jsonl").read_bytes()
    found, expected = weights(stopped), weights(whole)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    checkpoint = checkpoints.latest(whole / "checkpoints")
    assert checkpoint is not None and checkpoint.num_parts == 2


@pytest.mark.parametrize("model", MODELS)
def test_what_is_published_is_whole(runs: Path, model: str) -> None:
    texts = ["a red house", "shop"]
    encoders = [load_encoder(runs / model / name / "export") for name in ("ddp", "fsdp2")]
    features = [encoder.encode_texts(texts) for encoder in encoders]
    # The weights differ by what sums in another order differ by.
    torch.testing.assert_close(features[1], features[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("model", MODELS)
def test_open_clips_trainer_is_left_whole_moments(runs: Path, model: str) -> None:
    whole, shared = (torch.load(runs / model / name / "open_clip" / "epoch_2.pt") for name in ("ddp", "fsdp2"))
    states = [checkpoint["optimizer"]["state"] for checkpoint in (whole, shared)]
    assert states[0].keys() == states[1].keys() and len(states[0]) == len(weights(runs / model / "ddp")) - 1
    # The gradients of sums in another order, in float32; all weights train but the fixed image positions.
    torch.testing.assert_close(states[1], states[0], rtol=1e-4, atol=1e-6)
