"""Writes that fail: in passing they are tried again; for good they end the run, and the next start completes it."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from recaption.engine import transient
from recaption.engine.transient import patiently, pause_seconds
from tests.recaption.engine.scripted import Script, caption, parquets, settings, units

Inject = Callable[[int, int], list[int]]


@pytest.fixture
def inject(monkeypatch: pytest.MonkeyPatch) -> Inject:
    """Return `inject(errno, times)`: let that many syncs fail from the ninth on; what is returned counts syncs."""
    monkeypatch.setattr(transient, "FIRST_PAUSE_SECONDS", 0.001)

    def begin(number: int, times: int) -> list[int]:
        original, synced = os.fsync, [0]

        def fsync(descriptor: int) -> None:
            synced[0] += 1
            if 9 <= synced[0] < 9 + times:
                raise OSError(number, os.strerror(number))
            original(descriptor)

        monkeypatch.setattr(os, "fsync", fsync)
        return synced

    return begin


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT])
def test_a_network_file_system_s_hiccups_are_waited_out(
    number: int, tmp_path: Path, inject: Inject, capfd: pytest.CaptureFixture[str]
) -> None:
    caption(settings(tmp_path / "undisturbed"), units(6), Script())
    inject(number, 3)
    caption(settings(tmp_path / "hiccups"), units(6), Script())
    assert parquets(tmp_path / "hiccups") == parquets(tmp_path / "undisturbed")
    said = capfd.readouterr().err
    assert said.count("writing failed") == 3 and os.strerror(number) in said
    assert not list((tmp_path / "hiccups").rglob("*.partial*"))


@pytest.mark.parametrize(("number", "times"), [(errno.ENOSPC, 1), (errno.EACCES, 1), (errno.EIO, 1 << 30)])
def test_what_does_not_pass_names_file_and_reason_and_the_next_start_goes_on(
    number: int, times: int, tmp_path: Path, inject: Inject, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context():
        inject(number, times)
        with pytest.raises(OSError) as raised:
            caption(settings(tmp_path / "side", write_retries=2), units(6), Script())
    assert raised.value.errno == number and str(tmp_path / "side") in str(raised.value)
    monkeypatch.undo()
    done = {path.name.removesuffix("_stats.json") for path in (tmp_path / "side").glob("*_stats.json")}
    assert done < {unit.name for unit in units(6)}
    assert not list((tmp_path / "side").rglob("*.partial*"))
    caption(settings(tmp_path / "side"), [unit for unit in units(6) if unit.name not in done], Script())
    caption(settings(tmp_path / "undisturbed"), units(6), Script())
    assert parquets(tmp_path / "side") == parquets(tmp_path / "undisturbed")


def test_pauses_grow_to_a_limit() -> None:
    assert [pause_seconds(attempt) for attempt in range(7)] == [1, 2, 4, 8, 16, 30, 30]


def test_a_connection_error_without_a_number_passes_too() -> None:
    errors: list[Exception] = [ConnectionError("reset"), TimeoutError("slow")]
    slept: list[float] = []

    def work() -> str:
        if errors:
            raise errors.pop()
        return "done"

    assert patiently(work, num_retries=2, on_retry=lambda *_: None, sleep=slept.append) == "done"
    assert slept == [1.0, 2.0]


def test_the_last_error_is_raised_as_it_is() -> None:
    def work() -> None:
        raise OSError(errno.EIO, "Input/output error", "sidecar")

    with pytest.raises(OSError, match="'sidecar'"):
        patiently(work, num_retries=1, on_retry=lambda *_: None, sleep=lambda _: None)
