"""Nothing outlives the process that started it, and a lock held by a dying process is waited for."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runtime import patience
from runtime.patience import takes_lock
from tests.processes import descendants, kill_and_see_its_children_end, wait_until

linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's help is Linux's")

CHAIN = """
import os, subprocess, sys, time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from runtime.parent import end_with_parent

if __name__ == "__main__":
    if sys.argv[1:] == ["stage"]:
        with ProcessPoolExecutor(2, get_context("spawn"), end_with_parent, (os.getpid(),)) as pool:
            list(pool.map(time.sleep, [60, 60]))
    else:
        command = [sys.executable, __file__, "stage"]
        subprocess.Popen(command, preexec_fn=partial(end_with_parent, os.getpid())).wait()
"""


def start(program: str, folder: Path, *arguments: str) -> subprocess.Popen:
    file = folder / "program.py"
    file.write_text(program)
    return subprocess.Popen([sys.executable, str(file), *arguments], env={**os.environ, "PYTHONPATH": str(Path.cwd())})


@linux_only
def test_a_killed_runner_takes_its_stage_and_the_stage_s_pool_with_it(tmp_path: Path) -> None:
    process = start(CHAIN, tmp_path)
    # The stage, the resource tracker of its pool and two workers.
    wait_until(lambda: len(descendants(process.pid)) == 4, "the pool to start")
    kill_and_see_its_children_end(process, num_children_min=4)


@linux_only
def test_a_child_whose_parent_is_already_dead_ends_at_once(tmp_path: Path) -> None:
    other = subprocess.Popen(["true"])
    other.wait()
    orphan = "import sys, time; from runtime.parent import end_with_parent; end_with_parent(int(sys.argv[1])); print(1)"
    process = start(orphan, tmp_path, str(other.pid))
    assert process.wait(timeout=30) == -signal.SIGKILL


def test_a_lock_of_a_dying_process_is_waited_for(tmp_path: Path) -> None:
    program = """
import fcntl, sys, time
file = open(sys.argv[1], "w")
fcntl.lockf(file, fcntl.LOCK_EX)
print("held", file=open(sys.argv[1] + ".held", "w"), flush=True)
time.sleep(1)
"""
    lock = tmp_path / "lock"
    process = start(program, tmp_path, str(lock))
    wait_until((tmp_path / "lock.held").exists, "the lock")
    with lock.open("a") as file:
        assert takes_lock(lambda: fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB))
    assert process.wait() == 0


def test_patience_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PATIENCE_SECONDS", 0.3)

    def take() -> None:
        raise BlockingIOError

    began = time.monotonic()
    assert not takes_lock(take)
    assert 0.3 <= time.monotonic() - began < 5
