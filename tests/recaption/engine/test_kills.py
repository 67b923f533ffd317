"""SIGKILL at random moments: no row lost, none doubled, and the same bytes as undisturbed."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.processes import descendants
from tests.recaption.engine.scripted import Script, caption, parquets, settings, units

NUM_UNITS = 20
NUM_KILLS = 50
PROGRAM = """
import sys
from pathlib import Path
from recaption.executors.local import caption_units
from recaption.job.marks import finished_names
from tests.recaption.engine.scripted import Script, begin, opening, settings, units

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    config = begin(settings(folder, workers=2, supervised=True, row_attempts=5))
    waiting = [unit for unit in units({num_units}) if unit.name not in finished_names(folder)]
    for report in caption_units(config, waiting, open_captioner=opening(Script(batch_seconds=0.1))):
        with (folder / "reports.txt").open("a") as file:
            file.write(report.name + chr(10))
"""


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_fifty_kills_over_twenty_units_change_nothing(tmp_path: Path) -> None:
    """Kills hit the command or one of its workers, from its first second on; a killed command is started again."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(num_units=NUM_UNITS))
    caption(settings(tmp_path / "undisturbed"), units(NUM_UNITS), Script())
    draw, num_kills, jobs = random.Random(0), 0, 0
    while num_kills < NUM_KILLS:
        jobs += 1
        num_kills += _run_to_the_end(program, tmp_path / f"job-{jobs}", draw, NUM_KILLS - num_kills)
        assert parquets(tmp_path / f"job-{jobs}") == parquets(tmp_path / "undisturbed")
        assert not list((tmp_path / f"job-{jobs}" / "job" / "attempts").glob("*"))
    assert num_kills == NUM_KILLS


def _run_to_the_end(program: Path, folder: Path, draw: random.Random, most_kills: int) -> int:
    """Start a job until it ends by itself, killing at random moments at most so often; return how often."""
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    num_kills, lives_seconds = 0, 0.0
    while True:
        process = subprocess.Popen([sys.executable, str(program), str(folder)], env=environment)
        began = time.monotonic()
        while num_kills < most_kills:
            moment = time.monotonic() + draw.uniform(0.0, 2.0 + lives_seconds)
            while process.poll() is None and time.monotonic() < moment:
                time.sleep(0.01)
            if process.poll() is not None:
                break
            num_kills += 1
            workers = sorted(descendants(process.pid))
            if workers and draw.random() < 0.5:
                os.kill(draw.choice(workers), signal.SIGKILL)
            else:
                process.kill()
        code = process.wait()
        # The more kills a start survives, the later the next: some hit imports, some the work.
        lives_seconds = 0.5 * (time.monotonic() - began)
        if code == 0:
            return num_kills
        assert code == -signal.SIGKILL, code
