"""SIGKILL at random moments: no row lost, none doubled, nothing finished done again, the same bytes as undisturbed."""

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from recaption import verbs
from recaption.config import VerifyConfig
from tests.processes import descendants, is_alive, wait_until
from tests.recaption.engine import real_jobs
from tests.recaption.engine.scripted import parquets

NUM_SHARDS = 20
NUM_KILLS = 50
EARLY_SECONDS = 4.0
"""Half of the kills come as soon after the last one, among imports and openings ..."""
LATE_SECONDS = 1.0
"""... the others as soon after a further unit was finished, amid the work."""

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_fifty_kills_over_twenty_shards_change_nothing(talkative: Path, tmp_path: Path) -> None:
    """Kills hit the command or one of its workers, from its first second on; a killed command is started again."""
    shards = real_jobs.write_shards(tmp_path / "shards", NUM_SHARDS)
    undisturbed = tmp_path / "undisturbed"
    assert real_jobs.run(real_jobs.command(talkative, shards, undisturbed)).returncode == 0
    draw, num_kills, num_late, num_jobs = random.Random(0), 0, 0, 0
    while num_kills < NUM_KILLS:
        num_jobs += 1
        folder = tmp_path / f"job-{num_jobs}"
        # What is killed from outside says nothing of the rows in flight, however often it is.
        more = ("--workers=2", "--engine.row_attempts=1000", "--engine.deaths_max=1000")
        disturbed = Disturbed(real_jobs.command(talkative, shards, folder, *more), folder, draw)
        num_kills += disturbed.run_to_the_end(NUM_KILLS - num_kills)
        num_late += disturbed.num_late
        assert parquets(folder) == parquets(undisturbed)
        assert not list((folder / "job" / "attempts").glob("*"))
        verbs.verify(VerifyConfig(output_dir=folder))
    print(f"{num_kills} kills, {num_late} amid the work, over {num_jobs} jobs: equal byte for byte")
    assert num_late >= NUM_KILLS / 4


class Disturbed:
    """A command that is killed at random moments, and whose finished units are watched meanwhile."""

    def __init__(self, arguments: list[str], folder: Path, draw: random.Random):
        self._arguments, self._folder, self._draw = arguments, folder, draw
        self._said = folder.with_suffix(".stderr")
        self._finished: dict[str, tuple[int, int]] = {}
        self.num_late = 0
        """Kills that came after a start had finished a unit."""

    def run_to_the_end(self, most_kills: int) -> int:
        """Start a job until it ends by itself, killing at random moments at most so often; return how often."""
        num_kills = 0
        while True:
            with self._said.open("ab") as said:
                process = subprocess.Popen(self._arguments, env=real_jobs.environment(), stderr=said)
            while num_kills < most_kills and self._lives_until_a_moment(process):
                num_kills += 1
                self._kill(process)
            code = process.wait()
            self._watch()
            if code == 0:
                return num_kills
            assert code == -signal.SIGKILL, self._said.read_text()[-2000:]

    def _lives_until_a_moment(self, process: subprocess.Popen[bytes]) -> bool:
        late = self._draw.random() < 0.5
        num_finished, moment = len(self._finished), 0.0 if late else self._after(EARLY_SECONDS)
        while process.poll() is None and (not moment or time.monotonic() < moment):
            self._watch()
            if late and not moment and len(self._finished) > num_finished:
                moment = self._after(LATE_SECONDS)
            time.sleep(0.01)
        if process.poll() is None:
            self.num_late += late
        return process.poll() is None

    def _after(self, seconds_max: float) -> float:
        return time.monotonic() + self._draw.uniform(0.0, seconds_max)

    def _kill(self, process: subprocess.Popen[bytes]) -> None:
        workers = sorted(descendants(process.pid))
        if workers and self._draw.random() < 0.5:
            os.kill(self._draw.choice(workers), signal.SIGKILL)
        else:
            process.kill()

    def _watch(self) -> None:
        """Note the files of finished units, and that none was written again: only units in flight are redone."""
        for mark in self._folder.glob("*_stats.json"):
            parquet = mark.with_name(mark.name.replace("_stats.json", ".parquet"))
            files = (mark.stat().st_ino, parquet.stat().st_ino)
            assert self._finished.setdefault(mark.name, files) == files, f"{mark.name} was finished twice"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_being_asked_to_end_leaves_nothing_half_done_and_the_next_start_goes_on(
    talkative: Path, tmp_path: Path
) -> None:
    """As Slurm asks every process of a job, and as control-C at a terminal asks a whole group: no row is blamed."""
    shards, side = real_jobs.write_shards(tmp_path / "shards", NUM_SHARDS), tmp_path / "side"
    for number, code, line in ((signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "interrupted")):
        command = real_jobs.command(talkative, shards, side, "--workers=2", max_new_tokens=100)
        assert _asked_to_end(command, side, number) == (code, f"{line}: run the same command again to continue")
        assert not list(side.rglob("*.partial*")) and not (side / "done.json").exists()
        assert not list((side / "job").glob("attempts/*"))
    for folder in (side, tmp_path / "undisturbed"):
        run = real_jobs.run(real_jobs.command(talkative, shards, folder, max_new_tokens=100))
        assert run.returncode == 0, run.stderr
    assert parquets(side) == parquets(tmp_path / "undisturbed")


def _asked_to_end(command: list[str], folder: Path, number: signal.Signals) -> tuple[int, str]:
    """Start a job, signal it once it has finished a unit, and return its exit code and last line."""
    num_before = len(list(folder.glob("*_stats.json")))
    process = subprocess.Popen(
        command,
        env=real_jobs.environment(),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell has what it starts in the background ignore control-C, and these tests may run there.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    wait_until(
        lambda: process.poll() is not None or len(list(folder.glob("*_stats.json"))) > num_before, "a unit", 600.0
    )
    started = descendants(process.pid)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        for each in (*started, process.pid):
            with suppress(ProcessLookupError):
                os.kill(each, number)
    _, said = process.communicate(timeout=60)
    assert "Traceback" not in said, said
    wait_until(lambda: not any(map(is_alive, started)), "its processes to end")
    return process.returncode, said.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_writes_that_fail_are_waited_out_or_told_and_the_next_start_goes_on(talkative: Path, tmp_path: Path) -> None:
    """Two hiccups pass; a full disk and then a refusal end the job in a line; the third start finishes it."""
    shards = real_jobs.write_shards(tmp_path / "shards", 4)
    assert real_jobs.run(real_jobs.command(talkative, shards, tmp_path / "undisturbed")).returncode == 0
    (tmp_path / "faults").mkdir()
    (tmp_path / "sitecustomize.py").write_text(FAULTS)
    side, said = tmp_path / "side", []
    for faults in (("ESTALE", "EIO", "ENOSPC"), ("EACCES",), ()):
        for number, name in enumerate(faults):
            (tmp_path / "faults" / f"{number}-{name}").touch()
        places = f"{tmp_path}{os.pathsep}{Path.cwd()}"
        run = real_jobs.run(
            real_jobs.command(talkative, shards, side), PYTHONPATH=places, FAULTS_FOLDER=str(tmp_path / "faults")
        )
        said.append((run.returncode, run.stderr.strip().splitlines()))
        assert not list((tmp_path / "faults").iterdir()) and not list(side.glob("*.partial*"))
    (full_code, full), (refused_code, refused), (last_code, _) = said
    assert (full_code, refused_code, last_code) == (1, 1, 0), said
    assert sum("writing failed" in line for line in full) == 2
    assert any("Stale file handle" in line and line.endswith("again in 1 s") for line in full)
    assert full[-1].startswith(f"failed: OSError: [Errno 28] No space left on device: '{side}/0000"), full[-1]
    assert refused[-1].startswith(f"failed: PermissionError: [Errno 13] Permission denied: '{side}/0000"), refused[-1]
    assert parquets(side) == parquets(tmp_path / "undisturbed")


FAULTS = """
import errno, os
from pathlib import Path

sync = os.fsync

def fsync(descriptor):
    written = os.readlink(f"/proc/self/fd/{descriptor}")
    if ".parquet.partial" in written:
        for fault in sorted(Path(os.environ["FAULTS_FOLDER"]).iterdir()):
            fault.unlink()
            number = getattr(errno, fault.name.partition("-")[2])
            raise OSError(number, os.strerror(number))
    sync(descriptor)

os.fsync = fsync
"""
