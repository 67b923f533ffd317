"""Decode processes: pictures that crash or never end cost themselves, and how many there are changes nothing."""

import functools
import gc
import os
import signal
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from recaption.engine.decoding import Decoders, Task, open_decoders
from recaption.engine.preparation import Prepare, Prepared
from tests.processes import descendants
from tests.recaption.engine.pictures import ENDLESS_SIZE, SEGFAULT_SIZE, png, prepare
from tests.recaption.engine.scripted import (
    Script,
    caption,
    parquets,
    settings,
    table,
    unit,
    units,
)


def ask(decoders: Decoders, images: list[bytes], under: Prepare = prepare) -> "list[Future[Prepared]]":
    decoders.start(under)
    answers: list[Future[Prepared]] = []
    for data in images:
        answers.append(Future())
        decoders.submit(Task(data=data, answer=answers[-1], began=lambda: None))
    return answers


@pytest.fixture(scope="module")
def disturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A unit with a picture that crashes its process and one that never ends, decoded by one process."""
    folder = tmp_path_factory.mktemp("disturbed")
    images: list[bytes | None] = [png(place) for place in range(10)]
    images[2], images[7] = png(2, SEGFAULT_SIZE), png(7, ENDLESS_SIZE)
    caption(settings(folder, decode_processes=1, decode_seconds_max=2.0), [unit(0, images)], Script())
    return folder


def test_a_picture_that_crashes_or_never_ends_is_a_row_of_its_own(disturbed: Path) -> None:
    rows = table(disturbed)
    failed = {place: row["error_message"] for place, row in enumerate(rows) if row["status"] == "failed_to_decode"}
    assert failed == {
        2: "decoding it killed 2 processes in turn (ended by SIGSEGV)",
        7: "decoding it took longer than 2 s",
    }
    assert [row["status"] for row in rows].count("success") == 8


def test_other_rows_do_not_notice(disturbed: Path, tmp_path: Path) -> None:
    caption(settings(tmp_path), units(1), Script())
    for left, right in zip(table(disturbed), table(tmp_path), strict=True):
        assert left == right or left["status"] == "failed_to_decode"


def test_the_number_of_processes_changes_no_byte(tmp_path: Path) -> None:
    caption(settings(tmp_path / "none"), units(3), Script())
    caption(settings(tmp_path / "two", decode_processes=2), units(3), Script())
    assert parquets(tmp_path / "none") == parquets(tmp_path / "two")


def test_a_process_killed_from_outside_costs_nothing() -> None:
    before = descendants(os.getpid())
    decoders = open_decoders(1, 60.0)
    try:
        answers = ask(decoders, [png(seed) for seed in range(40)])
        assert answers[0].result(60).error is None
        for process in _python_children(before):
            os.kill(process, signal.SIGKILL)
        assert [answer.result(60).error for answer in answers] == [None] * 40
    finally:
        decoders.close()


def test_closing_leaves_no_dead_process_and_no_open_pipe() -> None:
    # The first start leaves multiprocessing's own tracker behind, with its pipe.
    for _ in range(2):
        gc.collect()
        open_files, zombies = len(list(Path("/proc/self/fd").iterdir())), _zombies(os.getpid())
        decoders = open_decoders(2, 60.0)
        assert ask(decoders, [png(0)])[0].result(60).error is None
        decoders.close()
    assert _zombies(os.getpid()) == zombies
    gc.collect()
    # Fewer where what earlier tests left was collected meanwhile.
    assert len(list(Path("/proc/self/fd").iterdir())) <= open_files


def _zombies(parent: int) -> int:
    states = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            states.append(path.read_text().rpartition(")")[2].split()[:2])
    return states.count(["Z", str(parent)])


def _python_children(before: set[int]) -> set[int]:
    started = descendants(os.getpid()) - before
    return {process for process in started if "serve" in _command(process) or "spawn_main" in _command(process)}


def _command(process: int) -> str:
    return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode()


def test_a_preparation_that_can_not_be_loaded_is_an_error_and_no_row(capfd: pytest.CaptureFixture[str]) -> None:
    decoders = open_decoders(1, 60.0)
    try:
        answer = ask(decoders, [png(0)], functools.partial(_Unloadable()))[0]
        with pytest.raises(OSError, match=r"a decode process could not start \(exit code 1\)"):
            answer.result(60)
    finally:
        decoders.close()
    assert "can't be loaded here" in capfd.readouterr().err


class _Unloadable:
    def __call__(self, image: Image.Image) -> np.ndarray:
        raise AssertionError

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return _raise, ("can't be loaded here",)


def _raise(message: str) -> None:
    raise ImportError(message)


def _large(image: Image.Image) -> dict[str, np.ndarray]:
    return {"small": np.asarray(image), "large": np.full(9 << 20, image.width, dtype=np.uint8)}


def _two(image: Image.Image) -> tuple[np.ndarray, np.ndarray]:
    return np.full((2, 3), image.width, dtype=np.float32), np.arange(image.height)


def test_arrays_of_any_size_arrive_as_they_were_and_stay_so() -> None:
    for under in (_large, _two):
        decoders = open_decoders(1, 60.0)
        try:
            images = [png(seed, (20 + seed, 9)) for seed in range(5)]
            pictures = [answer.result(60).picture for answer in ask(decoders, images, under)]
        finally:
            decoders.close()
        for seed, picture in enumerate(pictures):
            parts = list(picture.values()) if isinstance(picture, dict) else picture
            assert [part.shape for part in parts] == (
                [(9, 20 + seed, 3), (9 << 20,)] if under is _large else [(2, 3), (9,)]
            )
            number = parts[1] if under is _large else parts[0]
            assert (number == 20 + seed).all(), "a later picture lies where this one was"
            assert number.flags.writeable
