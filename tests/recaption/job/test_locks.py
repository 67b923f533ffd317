"""Who may write to a job's folder at the same time, and what becomes of locks whose machine is gone."""

import dataclasses
import errno
import fcntl
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from recaption.config import RecaptionConfig
from recaption.job import locks
from recaption.job.folder import open_job
from runtime import patience
from runtime.errors import UserError
from tests.processes import wait_until
from tests.recaption.job.made_jobs import config_of, write_shards

HOLD = """
import sys
from pathlib import Path
from recaption.executors.partition import Part
from recaption.job.locks import JobLock
lock = JobLock(Path(sys.argv[1]), Part.parse(sys.argv[2]))
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def holding(folder: Path, part: str) -> Iterator[subprocess.Popen[str]]:
    """Have another process, which is yielded, hold a part's locks; it is killed at the end."""
    command = [sys.executable, "-c", HOLD, str(folder), part]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        try:
            yield holder
        finally:
            holder.kill()


@pytest.fixture
def config(tmp_path: Path) -> RecaptionConfig:
    write_shards(tmp_path / "shards", 5)
    return config_of(tmp_path)


@pytest.mark.parametrize(
    ("held", "asked", "message"),
    [
        (
            "0/1",
            "0/1",
            r"side: another process is writing to this run: found process \d+ on \S+ since .*delete \S+side/\.lock",
        ),
        ("1/4", "0/1", r"another process is writing to this run: found process \d+ on "),
        ("0/1", "1/4", r"another process is writing to this run: found process \d+ on "),
        ("1/4", "1/4", r"another process captions this part: found process \d+ on .*delete \S+job/parts/1-of-4\.lock"),
        ("1/4", "1/8", r"part: the job is being captioned in 4 parts: found 1/8, wanted INDEX/4"),
    ],
)
def test_one_process_a_part(
    config: RecaptionConfig, held: str, asked: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "PATIENCE_SECONDS", 0.3)
    with holding(config.output_dir, held), pytest.raises(UserError, match=message):
        open_job(dataclasses.replace(config, part=asked))


def test_other_parts_run_at_the_same_time_if_their_captions_are_alike(config: RecaptionConfig) -> None:
    part = dataclasses.replace(config, part="2/4")
    with holding(config.output_dir, "1/4"):
        assert open_job(part).pending
        # The others' manifest stays while they are at work, though nothing is captioned yet.
        with pytest.raises(UserError, match="differing in 'prompt'"):
            open_job(dataclasses.replace(part, prompt="What?", part="3/4"))


def test_parts_may_be_cut_otherwise_once_the_first_have_ended(config: RecaptionConfig) -> None:
    with holding(config.output_dir, "1/4"):
        pass
    assert [unit.name for unit in open_job(dataclasses.replace(config, part="1/2")).pending] == ["00001", "00003"]


def test_a_lock_of_a_machine_that_vanished_is_waited_for(
    config: RecaptionConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(patience, "PATIENCE_SECONDS", 0.1)
    part = dataclasses.replace(config, part="1/4")
    with holding(config.output_dir, "1/4") as holder:
        lock = config.output_dir / "job" / "parts" / "1-of-4.lock"
        lock.write_text("process 7 on gone since yesterday\n")
        monkeypatch.setattr(locks, "LEASE_SECONDS", 0.3)
        with pytest.raises(UserError, match="another process captions this part: found process 7 on gone"):
            open_job(part)
        monkeypatch.setattr(locks, "LEASE_SECONDS", 60.0)
        with ThreadPoolExecutor() as pool:
            opening = pool.submit(open_job, part)
            wait_until(lambda: "waiting 60 s at most" in capsys.readouterr().err, "the lock to be waited for")
            holder.kill()
            assert opening.result().pending


def test_a_file_system_without_locks_is_told_of(
    config: RecaptionConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", refuse)
    assert len(open_job(dataclasses.replace(config, part="1/2")).pending) == 2
    said = capsys.readouterr().err
    assert "side/.lock: no locks here" in said and "see that no two processes caption one part" in said
