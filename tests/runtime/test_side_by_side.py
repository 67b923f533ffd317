"""Work in processes side by side: everything once, errors at once, this process for one worker."""

import os
import signal
from functools import partial
from pathlib import Path

import pytest

from runtime.errors import UserError
from runtime.side_by_side import finish_side_by_side


def note(folder: Path, item: int) -> None:
    (folder / str(item)).write_text(str(os.getpid()))


def note_start(folder: Path, index: int) -> None:
    (folder / f"start-{index}").write_text(str(os.getpid()))


def refuse_three(item: int) -> None:
    if item == 3:
        raise ValueError("three")


def refuse_to_start(folder: Path, index: int) -> None:
    raise UserError("no model here", where=folder, fix="Check --model.")


def die(item: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_every_item_is_done_once_and_workers_start_once(num_workers: int, tmp_path: Path) -> None:
    start = partial(note_start, tmp_path)
    done = list(finish_side_by_side(range(5), partial(note, tmp_path), num_workers=num_workers, start=start))
    assert sorted(done) == list(range(5))
    workers = {(tmp_path / str(item)).read_text() for item in range(5)}
    starts = {path.name: path.read_text() for path in tmp_path.glob("start-*")}
    assert set(starts) == {f"start-{index}" for index in range(num_workers)}
    assert workers <= set(starts.values())
    assert (workers == {str(os.getpid())}) == (num_workers == 1)


def test_nothing_to_do_starts_nothing(tmp_path: Path) -> None:
    assert list(finish_side_by_side([], die, num_workers=4, start=partial(note_start, tmp_path))) == []
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("num_workers", [1, 2])
def test_an_error_stops_the_work_as_it_is(num_workers: int) -> None:
    with pytest.raises(ValueError, match="three"):
        list(finish_side_by_side(range(5), refuse_three, num_workers=num_workers))


@pytest.mark.parametrize("num_workers", [1, 2])
def test_an_error_at_the_start_of_a_worker_is_raised_as_it_is(
    num_workers: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    start = partial(refuse_to_start, tmp_path / "gone")
    with pytest.raises(UserError) as refusal:
        list(finish_side_by_side(range(3), partial(note, tmp_path), num_workers=num_workers, start=start))
    assert str(refusal.value) == f"{tmp_path / 'gone'}: no model here. Check --model."
    assert not list(tmp_path.iterdir()), "work was done by a worker that had not started"
    assert capfd.readouterr().err == ""


def test_a_killed_worker_is_told_from_an_error() -> None:
    with pytest.raises(OSError, match="a worker process was killed, perhaps for memory; run the same command"):
        list(finish_side_by_side(range(3), die, num_workers=2))
