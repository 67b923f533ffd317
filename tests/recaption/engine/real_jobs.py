"""The command `python -m recaption run` itself, with the embedded captioner, over shards with good and bad rows."""

import os
import subprocess
import sys
from pathlib import Path

from imagetext.shards import write_shard
from tests.recaption.conftest import jpeg, row

ROWS_OF_A_SHARD = 13
"""Three batches of four and one of a single row."""


def write_shards(folder: Path, num_shards: int) -> Path:
    """Write shards with a picture that can't be decoded and one that was never downloaded among good ones."""
    for shard in range(num_shards):
        rows = [row(shard, index, jpeg(100 * shard + index)) for index in range(ROWS_OF_A_SHARD)]
        rows[5] = row(shard, 5, jpeg(5)[:150])
        rows[8] = row(shard, 8, None, status="failed_to_download", error_message="HTTP 404")
        write_shard(folder, shard, rows)
    return folder


def command(model: Path, shards: Path, output_dir: Path, *more: str, max_new_tokens: int = 8) -> list[str]:
    """Return the command of a job on the CPU; a captioner drawn at random would be refused for what it says."""
    settings = (f"--max_new_tokens={max_new_tokens}", "--batch_size=4", "--device=cpu", "--canary.pictures=0", *more)
    places = (f"--model={model}", f"--shards={shards}", f"--output_dir={output_dir}")
    return [sys.executable, "-m", "recaption", "run", *places, *settings]


def environment(**more: str) -> dict[str, str]:
    """Return the surroundings of a command that runs this source."""
    return {**os.environ, "PYTHONPATH": str(Path.cwd()), **more}


def run(arguments: list[str], **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(arguments, env=environment(**more), capture_output=True, text=True, check=False)
