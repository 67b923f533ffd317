"""Training commands as a user starts them: killed, stopped, and launched by torchrun."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runtime import checkpoints
from runtime.metrics import JsonLines
from tests.runtime.test_resume import assert_same_run

COMMAND = ["-m", "tests.runtime.train_toy", "contrastive"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def start(folder: Path, *changes: str) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, *COMMAND, str(folder), *changes], env=ENVIRONMENT, stderr=subprocess.PIPE)


def wait_for_progress(folder: Path, update: int, process: subprocess.Popen) -> None:
    while sum(1 for _ in JsonLines(folder / "metrics.jsonl").rows()) * 4 < update and process.poll() is None:
        time.sleep(0.02)


def test_killed_three_times_equals_undisturbed(tmp_path):
    changes = ("num_updates=400", "checkpoint_every_updates=20")
    assert start(tmp_path / "whole", *changes).wait() == 0
    draw, reached = random.Random(5), 0
    for _ in range(3):
        process = start(tmp_path / "killed", *changes)
        wait_for_progress(tmp_path / "killed", reached + draw.randint(20, 90), process)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        reached = checkpoints.latest(tmp_path / "killed" / "checkpoints").update
    assert reached < 400
    assert start(tmp_path / "killed", *changes).wait() == 0
    assert_same_run(tmp_path / "whole", tmp_path / "killed", update=400)


def test_sigterm_saves_a_checkpoint_and_exits_with_143(tmp_path):
    process = start(tmp_path, "num_updates=100000", "checkpoint_every_updates=100000")
    wait_for_progress(tmp_path, 20, process)
    process.terminate()
    assert process.wait() == 143
    saved = checkpoints.latest(tmp_path / "checkpoints").update
    assert saved >= 20 and list(JsonLines(tmp_path / "metrics.jsonl").rows())[-1]["update"] == saved - saved % 4


def test_torchrun_on_two_ranks_equals_one_process(tmp_path):
    assert start(tmp_path / "one", "num_updates=12", "microbatch_size=4").wait() == 0
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launcher, *COMMAND, str(tmp_path / "two"), "num_updates=12"],
        env=ENVIRONMENT,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    lines = [list(JsonLines(tmp_path / name / "metrics.jsonl").rows()) for name in ("one", "two")]
    assert [row["update"] for row in lines[1]] == [4, 8, 12]
    for single, double in zip(*lines, strict=True):
        assert double == pytest.approx(single, rel=2e-4, abs=2e-5)
