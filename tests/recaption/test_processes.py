"""Captioning commands as processes: one that is killed leaves no worker behind, and many fill one folder."""

import dataclasses
import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from imagetext.shards import write_shard
from imagetext.sidecars import is_complete, read_sidecar_table
from recaption import verbs
from recaption.config import RecaptionConfig, VerifyConfig
from recaption.executors.partition import Part
from recaption.job.locks import JobLock
from recaption.quality.config import CanaryConfig
from tests.processes import kill_and_see_its_children_end, wait_until
from tests.recaption.conftest import jpeg, row

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

NUM_SHARDS = 12
IMAGES_PER_SHARD = 20


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's help is Linux's")
def test_workers_end_with_a_killed_job_and_the_next_start_completes_it(model: Path, tmp_path: Path) -> None:
    shards, sidecars = tmp_path / "shards", tmp_path / "sidecars"
    for index in range(NUM_SHARDS):
        write_shard(shards, index, [row(index, place, jpeg(place)) for place in range(IMAGES_PER_SHARD)])
    command = [sys.executable, "-m", "recaption", "run", "--shards", str(shards), "--model", str(model)]
    command += ["--output_dir", str(sidecars), "--workers", "2", "--batch_size", "4", "--device", "cpu"]
    command += ["--canary.pictures", "0"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    wait_until((sidecars / "00000_stats.json").exists, "the first sidecar")
    # Two workers; the third is Python's resource tracker.
    kill_and_see_its_children_end(process, num_children_min=3)
    assert not (sidecars / "done.json").exists()
    assert subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0
    for index in range(NUM_SHARDS):
        assert is_complete(sidecars, f"{index:05d}")
        assert read_sidecar_table(sidecars, f"{index:05d}").num_rows == IMAGES_PER_SHARD


def test_tasks_of_an_array_fill_one_folder_while_the_whole_job_is_kept_out(model: Path, tmp_path: Path) -> None:
    """Three tasks at the same time; this process stands for the fourth, which is at work when they end."""
    for index in range(NUM_SHARDS):
        write_shard(tmp_path / "shards", index, [row(index, place, jpeg(place)) for place in range(4)])
    config = RecaptionConfig(
        model=model, output_dir=tmp_path / "side", shards=str(tmp_path / "shards"), batch_size=4, device="cpu",
        max_new_tokens=12, canary=CanaryConfig(pictures=0),
    )  # fmt: skip
    command = [sys.executable, "-m", "recaption", "run", "--shards", str(config.shards), "--model", str(model)]
    command += ["--output_dir", str(config.output_dir), "--batch_size", "4", "--device", "cpu"]
    command += ["--max_new_tokens", "12", "--canary.pictures", "0"]
    fourth = JobLock(config.output_dir, Part(3, 4))
    with ExitStack() as stack:
        tasks = [
            stack.enter_context(subprocess.Popen([*command, "--part", f"{index}/4"], stderr=subprocess.PIPE, text=True))
            for index in range(3)
        ]
        for task in tasks:
            stack.callback(task.kill)
        whole = subprocess.run(command, capture_output=True, text=True)
        assert whole.returncode == 2
        assert whole.stderr.count("\n") == 1 and "another process is writing to this run: found process" in whole.stderr
        for task in tasks:
            _, said = task.communicate()
            assert task.returncode == 0, said
    assert not (config.output_dir / "done.json").exists()
    fourth.close()
    verbs.run(dataclasses.replace(config, part="3/4"))
    assert json.loads((config.output_dir / "done.json").read_text())["num_rows"] == 4 * NUM_SHARDS
    verbs.verify(VerifyConfig(output_dir=config.output_dir))
    alone = dataclasses.replace(config, output_dir=tmp_path / "alone")
    verbs.run(alone)
    for path in alone.output_dir.glob("*.parquet"):
        assert path.read_bytes() == (config.output_dir / path.name).read_bytes()
