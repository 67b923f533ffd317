"""Call a stage as a user does, and judge how it refuses."""

import importlib
import os
import re
import resource
import signal
import sys
from collections.abc import Callable

import pytest

from runtime.entry import run_entry

PROGRESS = re.compile(r"[\w ]+: \d+/\d+ \w+, ")
"""What `runtime.progress` prints beside the one line when some work was done before the mistake showed."""

Refused = Callable[..., str]
"""The fixture `refused`."""


def call_refused(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], stage: str, *arguments: object, code: int
) -> str:
    """Run a stage in this process, check exit code and that stderr is one line but for progress; return the line."""
    capfd.readouterr()
    with pytest.raises(SystemExit) as leaving:
        _run(monkeypatch, stage, *arguments)
    said = capfd.readouterr().err
    assert leaving.value.code == code, said
    line = last_line(said)
    assert line.startswith("error: " if code == 2 else "failed: "), said
    return line


def last_line(stderr: str) -> str:
    """Return the one line that is no progress."""
    lines = [line for line in stderr.splitlines() if not PROGRESS.match(line)]
    assert len(lines) == 1, stderr
    return lines[0]


def _run(monkeypatch: pytest.MonkeyPatch, stage: str, *arguments: object) -> None:
    module, *verb = stage.split()
    monkeypatch.setattr("sys.argv", [module, *verb, *map(str, arguments)])
    run_entry(importlib.import_module(f"{module}.__main__").main)


def run_with_file_limit(
    monkeypatch: pytest.MonkeyPatch, limit_bytes: int, stage: str, *arguments: object
) -> tuple[int, str]:
    """Run a stage in a forked child whose files may not grow beyond a limit; return exit code and stderr.

    The write that goes beyond is cut short and the next one fails, as on a disk that is full.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _become_limited(writing, limit_bytes)
        code = 70
        try:
            _run(monkeypatch, stage, *arguments)
            code = 0
        except SystemExit as leaving:
            code = int(leaving.code or 0)
        except BaseException as error:  # noqa: BLE001 (what a user would see as a traceback)
            print(f"Traceback: {error!r}", file=sys.stderr)
        finally:
            sys.stderr.flush()
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading) as stderr:
        said = stderr.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said


def _become_limited(stderr: int, limit_bytes: int) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(stderr, 2)
    sys.stdout = os.fdopen(1, "w")
    sys.stderr = os.fdopen(2, "w", buffering=1)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))
