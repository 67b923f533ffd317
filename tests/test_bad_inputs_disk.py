"""A disk that is full: every stage that writes ends in one line with the reason and code 1, and leaves no half file."""

import errno
import os
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import product
from pathlib import Path

import pytest

from tests.good_inputs import GoodInputs
from tests.refusal import Refused, last_line, run_with_file_limit

WRITERS = (
    "miniweb", "imagetext shuffle-sidecar", "clip_train", "dit_train", "llava_train", "recaption run", "eval captions",
    "eval clip",
)  # fmt: skip
LIMITS_BYTES = (0, 3_000, 100_000)
"""Nothing fits; small text files fit; all but the large files fit."""


@pytest.mark.parametrize("stage", WRITERS)
def test_a_full_disk_is_named_with_the_file(
    stage: str, good: GoodInputs, refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = good.arguments(stage)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    said = refused(stage, *arguments, f"--output_dir={tmp_path / 'out'}", code=1)
    assert "No space left on device" in said and f"'{tmp_path / 'out'}/" in said
    assert not list(tmp_path.rglob("*.partial*")) and not (tmp_path / "out" / "done.json").exists()


# A limit on files is one on shared memory and semaphores, too: without any, no process of a captioning job starts.
@pytest.mark.parametrize(
    ("stage", "limit_bytes"),
    [pair for pair in product(WRITERS, LIMITS_BYTES) if pair != ("recaption run", 0)],
)
def test_a_write_that_fails_anywhere_ends_in_one_line(
    stage: str, limit_bytes: int, good: GoodInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [*good.arguments(stage), f"--output_dir={tmp_path / 'out'}"]
    code, said = run_with_file_limit(monkeypatch, limit_bytes, stage, *arguments)
    if code == 0:
        assert limit_bytes == max(LIMITS_BYTES), "small outputs fit below the largest limit, and only there"
        return
    assert code == 1, said
    assert last_line(said).startswith("failed: "), said
    assert "out/" in last_line(said) or (stage == "recaption run" and "'/dev/shm'" in last_line(said)), said
    assert not (tmp_path / "out" / "done.json").exists()
    assert not [path for path in tmp_path.rglob("*.partial*") if path.is_file()]


def test_a_killed_process_of_a_build_is_told_in_one_line(
    refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runtime import side_by_side

    class Killed(ThreadPoolExecutor):
        """A pool whose processes die at once."""

        def __init__(self, *_: object) -> None:
            super().__init__(1)

        def submit(self, *_: object) -> Future[object]:  # type: ignore[override]
            dead: Future[object] = Future()
            dead.set_exception(BrokenProcessPool())
            return dead

    monkeypatch.setattr(side_by_side, "ProcessPoolExecutor", Killed)
    said = refused("miniweb", f"--output_dir={tmp_path / 'web'}", "--processes=2", code=1)
    assert said.endswith("a worker process was killed, perhaps for memory; run the same command to continue")
