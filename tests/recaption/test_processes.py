"""A captioning command that is killed leaves no worker behind, and runs on when started again."""

import subprocess
import sys
from pathlib import Path

import pytest

from imagetext.shards import write_shard
from imagetext.sidecars import is_complete, read_sidecar_table
from tests.processes import kill_and_see_its_children_end, wait_until
from tests.recaption.conftest import jpeg, row

NUM_SHARDS = 12
IMAGES_PER_SHARD = 20


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's help is Linux's")
def test_workers_end_with_a_killed_job_and_the_next_start_completes_it(model: Path, tmp_path: Path) -> None:
    shards, sidecars = tmp_path / "shards", tmp_path / "sidecars"
    for index in range(NUM_SHARDS):
        write_shard(shards, index, [row(index, place, jpeg(place)) for place in range(IMAGES_PER_SHARD)])
    command = [sys.executable, "-m", "recaption", "run", "--shards", str(shards), "--model", str(model)]
    command += ["--output_dir", str(sidecars), "--workers", "2", "--batch_size", "4", "--device", "cpu"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    wait_until((sidecars / "00000_stats.json").exists, "the first sidecar")
    # Two workers; the third is Python's resource tracker.
    kill_and_see_its_children_end(process, num_children_min=3)
    assert not (sidecars / "done.json").exists()
    assert subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0
    for index in range(NUM_SHARDS):
        assert is_complete(sidecars, f"{index:05d}")
        assert read_sidecar_table(sidecars, f"{index:05d}").num_rows == IMAGES_PER_SHARD
