"""Real processes and what they leave behind when killed."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

POLL_SECONDS = 0.02
GONE_WITHIN_SECONDS = 15.0
"""A dying process gives back its memory first; on a busy machine that takes seconds."""


def wait_until(holds: Callable[[], object], what: str, seconds: float = 60.0) -> None:
    """Return when `holds()`; fail after `seconds`, naming what was waited for."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain: {what}"
        time.sleep(POLL_SECONDS)


def descendants(process: int) -> set[int]:
    """Return the living processes that a process started, and those that these started, and so on."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if state != "Z":
            children.setdefault(int(parent), []).append(int(path.parent.name))
    found: set[int] = set()
    waiting = [process]
    while waiting:
        new = children.get(waiting.pop(), [])
        found.update(new)
        waiting.extend(new)
    return found


def is_alive(process: int) -> bool:
    """Tell whether a process exists and is more than a dead entry of the process table."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def kill_and_see_its_children_end(process: subprocess.Popen, num_children_min: int) -> None:
    """Kill a process, none of its children, and wait until all that it started is gone."""
    started = descendants(process.pid)
    assert process.poll() is None, "it ended before it could be killed"
    assert len(started) >= num_children_min, started
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    wait_until(lambda: not any(map(is_alive, started)), "orphans to end", GONE_WITHIN_SECONDS)
