"""Worker processes that die, hang or give themselves up: what is lost, what is done again, what is given up on."""

import os
import re
import signal
import sys
from pathlib import Path

import pytest

from recaption.captioners.base import Captioner
from recaption.engine.report import UnitReport
from recaption.executors.local import caption_units
from recaption.inputs.units import InputRow
from runtime.errors import UserError
from tests.recaption.engine.pictures import SEGFAULT_SIZE, digest, png
from tests.recaption.engine.scripted import (
    ListUnit,
    Script,
    begin,
    caption,
    opening,
    parquets,
    settings,
    statuses,
    table,
    unit,
    units,
)

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's help is Linux's")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recaption.engine.supervision.RESTART_SECONDS", 0.0)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("undisturbed")
    caption(settings(folder), units(4), Script())
    return parquets(folder)


def test_a_worker_that_dies_once_is_replaced_and_nothing_is_lost(
    tmp_path: Path, undisturbed: dict[str, bytes], capfd: pytest.CaptureFixture[str]
) -> None:
    script = Script(die=(digest(png(203)),), once=str(tmp_path / "died"))
    reports = caption(settings(tmp_path / "side", supervised=True), units(4), script)
    assert sorted(reports) == ["00000", "00001", "00002", "00003"]
    assert parquets(tmp_path / "side") == undisturbed
    assert re.search(r"worker 0 died at .*captioning.* \(ended by SIGKILL\); starting", capfd.readouterr().err)
    assert not list((tmp_path / "side" / "job" / "attempts").iterdir())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_picture_that_kills_every_worker_is_the_only_one_given_up_on(
    tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    script = Script(die=(digest(png(102)),))
    caption(settings(tmp_path, supervised=True, deaths_max=4), units(4), script)
    rows = table(tmp_path, "00001")
    assert [row["status"] for row in rows] == ["success"] * 2 + ["gave_up"] + ["success"] * 7
    assert "3 times a worker or its captioner died with this row in flight" in rows[2]["error_message"]
    assert rows[2]["attempts"] == 3
    others = {name: data for name, data in undisturbed.items() if name != "00001.parquet"}
    assert {name: data for name, data in parquets(tmp_path).items() if name != "00001.parquet"} == others


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_workers_and_decode_processes_write_the_same_bytes(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    caption(settings(tmp_path, workers=2, supervised=True, decode_processes=2), units(4), Script())
    assert parquets(tmp_path) == undisturbed


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_worker_short_of_memory_beside_poisonous_rows_gives_up_on_those_alone(
    tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    """Batches larger than one picture run out of memory, one picture always does, one is refused, one kills once."""
    never_fits, refused, kills = (digest(png(seed)) for seed in (104, 107, 202))
    script = Script(
        max_batch=1,
        fail={never_fits: ("out_of_memory", 99)},
        reject=(refused,),
        die=(kills,),
        once=str(tmp_path / "died"),
    )
    caption(settings(tmp_path / "side", supervised=True), units(4), script)
    found = {name: statuses(tmp_path / "side", name) for name in ("00000", "00001", "00002", "00003")}
    wanted = {name: ["success"] * 10 for name in found}
    wanted["00001"][4], wanted["00001"][7] = "gave_up", "failed_to_caption"
    assert found == wanted
    rows = table(tmp_path / "side", "00001")
    assert rows[4]["attempts"] == 3 and "out_of_memory 3 times" in rows[4]["error_message"]
    assert rows[7]["attempts"] == 1 and rows[7]["error_message"] == "no"
    said = [row["re_caption"] for row in table(tmp_path / "side", "00003")]
    assert said == [f"{digest(png(300 + place))} at 0 of 1" for place in range(10)]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_captioner_that_hangs_is_found_and_its_stack_written_down(
    tmp_path: Path, undisturbed: dict[str, bytes], capfd: pytest.CaptureFixture[str]
) -> None:
    script = Script(hang=(digest(png(105)),), once=str(tmp_path / "hung"))
    caption(settings(tmp_path / "side", supervised=True, captioning_seconds_max=2.0), units(4), script)
    assert parquets(tmp_path / "side") == undisturbed
    assert "worker 0 hung in captioning for more than 2 s (its stack is in" in capfd.readouterr().err
    stack = (tmp_path / "side" / "job" / "logs" / "worker-0.txt").read_text()
    assert "_break_down" in stack and "File" in stack


class HangingUnit(ListUnit):
    """Reads its third row as from a file system that hangs: the first time, or for as long as it is said to."""

    def rows(self):  # type: ignore[no-untyped-def] # a generator, checked where it is used
        over = Path(self.name)
        for place, row in enumerate(self.content):
            if place == 2 and ("HANGS_FOR_EVER" in os.environ or not over.exists()):
                over.touch()
                signal.pause()
            yield row


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_loader_that_hangs_is_replaced_and_no_row_is_blamed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    work = [units(1)[0], HangingUnit(name="hangs", content=units(2)[1].content)]
    caption(settings(tmp_path / "side", supervised=True, reading_seconds_max=2.0), work, Script())
    assert statuses(tmp_path / "side", "hangs") == ["success"] * 10
    assert "hung in reading" in capfd.readouterr().err
    assert "in rows" in (tmp_path / "side" / "job" / "logs" / "worker-0.txt").read_text()
    assert not (tmp_path / "side" / "job" / "attempts").exists()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_unit_that_always_hangs_is_set_aside_and_all_others_are_finished(
    tmp_path: Path, undisturbed: dict[str, bytes], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HANGS_FOR_EVER", "1")
    work = [HangingUnit(name="hangs", content=units(2)[1].content), *units(4)]
    config = settings(tmp_path / "side", supervised=True, reading_seconds_max=1.5, row_attempts=2)
    with pytest.raises(OSError, match=r"1 units could not be read \(hangs\), all others are finished: see job/logs"):
        caption(config, work, Script())
    assert parquets(tmp_path / "side") == undisturbed
    assert capfd.readouterr().err.count("hung in reading") == 2
    monkeypatch.delenv("HANGS_FOR_EVER")
    caption(config, work[:1], Script())
    assert statuses(tmp_path / "side", "hangs") == ["success"] * 10


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_codec_that_crashes_the_worker_itself_costs_one_row(tmp_path: Path) -> None:
    images: list[bytes | None] = [png(place) for place in range(6)]
    images[3] = png(3, SEGFAULT_SIZE)
    caption(settings(tmp_path, supervised=True), [unit(0, images)], Script())
    assert statuses(tmp_path) == ["success"] * 3 + ["gave_up"] + ["success"] * 2


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_workers_that_die_without_getting_anywhere_end_the_run(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"worker 0 died at opening \(ended by SIGKILL\); workers died 2 times in turn"):
        list(
            caption_units(
                begin(settings(tmp_path, supervised=True, deaths_max=2)), units(2), open_captioner=_die_at_once
            )
        )
    assert not list(tmp_path.glob("*.parquet"))


def _die_at_once(config: object) -> Captioner:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("it is dead")


class BrokenUnit(ListUnit):
    """Can't be read."""

    def rows(self):  # type: ignore[no-untyped-def] # raises
        raise UserError("tar is truncated", where="00001.tar")


def test_a_users_mistake_in_a_worker_is_told_here(tmp_path: Path) -> None:
    work = [*units(1), BrokenUnit(name="00001", content=(InputRow(key="a", image=None),))]
    with pytest.raises(UserError, match=r"00001\.tar: tar is truncated"):
        caption(settings(tmp_path, supervised=True), work, Script())
    assert (tmp_path / "00000_stats.json").exists(), "what was read before is written"


def test_leaving_early_leaves_no_process(tmp_path: Path) -> None:
    from tests.processes import descendants, wait_until

    before = descendants(os.getpid())
    config = begin(settings(tmp_path, supervised=True, workers=2))
    running = caption_units(config, units(3), open_captioner=opening(Script(batch_seconds=0.2)))
    assert isinstance(next(running), UnitReport)
    running.close()  # type: ignore[attr-defined] # a generator
    # Python's own resource tracker stays.
    wait_until(lambda: len(descendants(os.getpid()) - before) <= 1, "the workers to end")
