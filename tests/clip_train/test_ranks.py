"""A run on two ranks, as torchrun starts it, against the same run in one process."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from clip_train import train as training
from clip_train.model import load_encoder
from runtime import launch
from runtime.config import to_yaml
from runtime.errors import UserError
from runtime.loop_config import LoopConfig
from runtime.metrics import JsonLines
from tests.clip_train.test_train import config_of, web, weights

__all__ = ["web"]

LAUNCHER = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_ranks_equal_one_process(web: Path, tmp_path: Path) -> None:
    loop = LoopConfig(
        num_updates=4, batch_size=6, learning_rate=1e-3, epsilon=1e-3, log_every_updates=1, device="cpu", wandb="off"
    )
    # Of the foundation: a ResNet counts the batches that it has seen rank by rank.
    model = {"model": "foundation", "vocab_size": 600}
    one, two = (config_of(web, tmp_path / name, loop=loop, **model) for name in ("one", "two"))
    training.train(replace(one, loop=replace(loop, microbatch_size=3)))
    (tmp_path / "two.yaml").write_text(to_yaml(two))
    command = [sys.executable, *LAUNCHER, "-m", "clip_train", "--config", str(tmp_path / "two.yaml")]
    done = subprocess.run(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not list((tmp_path / "two").glob("*.partial*"))
    rows = [list(JsonLines(tmp_path / name / "metrics.jsonl").rows()) for name in ("one", "two")]
    assert [row["update"] for row in rows[1]] == [1, 2, 3, 4]
    # Sums run in another order, in float32; the large epsilon keeps AdamW from blowing such differences up.
    for single, double in zip(*rows, strict=True):
        assert double == pytest.approx(single, rel=2e-4, abs=2e-5)
    audits = [json.loads((tmp_path / name / "done.json").read_text())["audit"] for name in ("one", "two")]
    assert audits[0] == audits[1] and audits[0]["drawn"] == 24
    single, double = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert all(torch.allclose(single[name], double[name], atol=1e-5) for name in single)
    assert load_encoder(tmp_path / "two" / "export").encode_images([Image.new("RGB", (20, 16))]).isfinite().all()


def test_second_rank_writes_nothing(web: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its tokenizer is the main process's; while there is none it waits, and says so when none comes."""
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(launch, "PATIENCE_SECONDS", 0.3)
    with pytest.raises(UserError, match=r"run/tokenizer: the main process has not made this: found none after 0 sec"):
        training.train(config_of(web, tmp_path / "run"))
    assert not (tmp_path / "run").exists()
