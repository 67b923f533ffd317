"""Loader workers end with the training process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.imagetext.pictures import write_shards
from tests.processes import kill_and_see_its_children_end, wait_until

PROGRAM = """
import sys, time
from pathlib import Path
from imagetext.loader import MixedLoader
from imagetext.mix import CaptionMixConfig
from imagetext.stream import DataConfig
from imagetext.tokenizers import open_clip_tokenizer
from imagetext.transforms import random_resized_crop

data = DataConfig(shards=sys.argv[1], num_workers=2)
tokenizer = open_clip_tokenizer("ViT-B-32", 16)
loader = MixedLoader(data, CaptionMixConfig(), lambda i, g: random_resized_crop(i, 16, g), tokenizer, 0, batch_size=4)
updates = loader.updates(0)
next(updates)
Path(sys.argv[2]).touch()
time.sleep(60)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's help is Linux's")
def test_workers_end_when_the_trainer_is_killed(tmp_path: Path) -> None:
    write_shards(tmp_path / "shards", [8])
    started = tmp_path / "started"
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "shards"), str(started)]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(Path.cwd())})
    wait_until(started.exists, "the first batch")
    kill_and_see_its_children_end(process, num_children_min=2)
