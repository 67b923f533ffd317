"""Rows of many units through one captioner in this process: order, places, failures, losses."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from recaption.captioners.base import Answered, Caption, Item, Request, Result
from recaption.engine.answering import WorkerSpentError
from recaption.engine.attempts import add_deaths, read_deaths
from recaption.executors.local import caption_units
from recaption.inputs.units import InputRow
from runtime.errors import UserError
from tests.recaption.engine.pictures import UNPREPARABLE_SIZE, digest, png
from tests.recaption.engine.scripted import (
    ListUnit,
    Script,
    ScriptedCaptioner,
    begin,
    caption,
    parquets,
    settings,
    statuses,
    table,
    unit,
    units,
)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recaption.engine.transient.FIRST_PAUSE_SECONDS", 0.01)


def test_rows_come_out_in_order_each_with_its_own_caption(tmp_path: Path) -> None:
    images = [png(place) for place in range(9)]
    images[4] = b"not a picture"
    work = [unit(0, [*images, None]), unit(1, [png(50)]), unit(2, [])]
    reports = caption(settings(tmp_path), work, Script())
    rows = table(tmp_path)
    assert [row["key"] for row in rows] == work[0].keys()
    expected = [f"{digest(image)} at {place % 4} of {4 if place < 8 else 2}" for place, image in enumerate(images[:4])]
    assert [row["re_caption"] for row in rows[:4]] == expected
    assert rows[4]["status"] == "failed_to_decode" and "not_an_image" in rows[4]["error_message"]
    assert rows[8]["re_caption"] == f"{digest(images[8])} at 0 of 2", "a unit's last batch ends with it"
    assert rows[9]["status"] == "failed_to_download" and rows[9]["attempts"] == 0
    assert reports["00000"].statuses == {"failed_to_decode": 1, "failed_to_download": 1, "success": 8}
    assert reports["00002"].num_rows == 0 and table(tmp_path, "00002") == []


def test_places_do_not_depend_on_what_else_is_in_the_unit(tmp_path: Path) -> None:
    healthy = [png(place) for place in range(12)]
    hostile = [b"" if place in (0, 5, 6, 7, 11) else image for place, image in enumerate(healthy)]
    caption(settings(tmp_path / "healthy"), [unit(0, healthy)], Script())
    caption(settings(tmp_path / "hostile"), [unit(0, hostile)], Script())
    pairs = zip(table(tmp_path / "healthy"), table(tmp_path / "hostile"), strict=True)
    assert [left == right for left, right in pairs] == [place not in (0, 5, 6, 7, 11) for place in range(12)]


def test_a_rejected_row_is_not_asked_again(tmp_path: Path) -> None:
    caption(settings(tmp_path), [unit(0, [png(0), png(1)])], Script(reject=(digest(png(1)),)))
    row = table(tmp_path)[1]
    assert (row["status"], row["error_message"], row["attempts"]) == ("failed_to_caption", "no", 1)


def test_what_fails_in_passing_is_asked_again_in_its_old_place(tmp_path: Path) -> None:
    names = [digest(png(100 + place)) for place in range(6)]
    script = Script(fail={names[0]: ("timeout", 1), names[5]: ("unavailable", 2), names[2]: ("timeout", 9)})
    caption(settings(tmp_path), units(3), script)
    rows = table(tmp_path, "00001")
    assert [row["attempts"] for row in rows[:6]] == [2, 1, 3, 1, 1, 3]
    assert rows[0]["re_caption"] == f"{names[0]} at 0 of 4" and rows[5]["re_caption"] == f"{names[5]} at 1 of 4"
    assert rows[2]["status"] == "gave_up" and "timeout 3 times, at last: later" in rows[2]["error_message"]
    undisturbed = settings(tmp_path / "undisturbed")
    caption(undisturbed, units(3), Script())
    assert parquets(tmp_path)["00002.parquet"] == parquets(tmp_path / "undisturbed")["00002.parquet"]


def test_large_batches_that_run_out_of_memory_are_asked_row_by_row(tmp_path: Path) -> None:
    caption(settings(tmp_path), units(2), Script(max_batch=1))
    assert statuses(tmp_path) == ["success"] * 10
    assert {row["re_caption"].partition(" ")[2] for row in table(tmp_path)} == {"at 0 of 1"}


def test_a_row_that_never_fits_into_memory_is_given_up_on(tmp_path: Path) -> None:
    name = digest(png(3))
    caption(settings(tmp_path), units(1), Script(fail={name: ("out_of_memory", 99)}))
    assert statuses(tmp_path) == ["success"] * 3 + ["gave_up"] + ["success"] * 6


def test_a_captioner_that_is_never_there_ends_the_run(tmp_path: Path) -> None:
    work = units(1, num_rows=120)
    script = Script(fail={digest(row.image or b""): ("unavailable", 99) for row in work[0].content})
    with pytest.raises(OSError, match="did not answer 100 rows in a row: later"):
        caption(settings(tmp_path, row_attempts=2), work, script)
    assert not list(tmp_path.glob("*.parquet"))


def test_a_lost_captioner_is_opened_anew_and_nothing_changes_but_the_count(tmp_path: Path) -> None:
    caption(settings(tmp_path / "undisturbed"), units(3), Script())
    names = tuple(digest(png(seed)) for seed in (0, 105, 209))
    caption(settings(tmp_path / "lost"), units(3), Script(lose_once=names))
    for name in ("00000", "00001", "00002"):
        rows, undisturbed = table(tmp_path / "lost", name), table(tmp_path / "undisturbed", name)
        assert [{**row, "attempts": 1} for row in rows] == undisturbed
    assert [row["attempts"] for row in table(tmp_path / "lost")] == [2, 2, 2, 2, 1, 1, 1, 1, 1, 1]
    assert not list((tmp_path / "lost" / "job" / "attempts").glob("*")), "counts of finished units are forgotten"


def test_a_picture_that_kills_every_captioner_is_the_only_one_given_up_on(tmp_path: Path) -> None:
    caption(settings(tmp_path / "undisturbed"), units(3), Script())
    caption(settings(tmp_path / "poison"), units(3), Script(lose=(digest(png(102)), digest(png(103)))))
    rows = table(tmp_path / "poison", "00001")
    assert [row["status"] for row in rows] == ["success"] * 2 + ["gave_up"] * 2 + ["success"] * 6
    assert "given up on: 3 times a worker or its captioner died" in rows[2]["error_message"]
    for left, right in zip(rows, table(tmp_path / "undisturbed", "00001"), strict=True):
        assert left["status"] == "gave_up" or left["re_caption"] == right["re_caption"]
    kept = ("00000.parquet", "00002.parquet")
    assert all(parquets(tmp_path / "poison")[name] == parquets(tmp_path / "undisturbed")[name] for name in kept)


def test_a_captioner_that_forgets_a_row_is_lost(tmp_path: Path) -> None:
    caption(settings(tmp_path), units(1), Script(forget=(digest(png(9)),)))
    assert statuses(tmp_path) == ["success"] * 9 + ["gave_up"]


def test_a_process_whose_captioners_are_all_lost_gives_itself_up(tmp_path: Path) -> None:
    class Broken(ScriptedCaptioner):
        def answer(self, items: Iterator[Item]) -> Iterator[Result]:
            raise RuntimeError("device-side assert")
            yield

    opened = caption_units(begin(settings(tmp_path)), units(1), open_captioner=lambda config: Broken(Script(), {}))
    with pytest.raises(WorkerSpentError, match="3 captioners were lost in turn; the last: RuntimeError: device-side"):
        list(opened)


def test_deaths_counted_before_make_suspects_and_end(tmp_path: Path) -> None:
    add_deaths(tmp_path, "00000", [1, 2])
    add_deaths(tmp_path, "00000", [1, 2])
    assert add_deaths(tmp_path, "00000", [2]) == {1: 2, 2: 3}
    caption(settings(tmp_path), units(1), Script())
    rows = table(tmp_path)
    assert [row["status"] for row in rows] == ["success"] * 2 + ["gave_up"] + ["success"] * 7
    assert rows[2]["attempts"] == 3
    assert rows[1]["re_caption"] == f"{digest(png(1))} at 1 of 4", "a suspect is asked alone, in its old place"
    assert read_deaths(tmp_path, "00000") == {}


def test_damaged_counts_are_named(tmp_path: Path) -> None:
    path = tmp_path / "job" / "attempts" / "00000.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"deaths_by_row": [1]}')
    with pytest.raises(UserError, match=r"00000\.json: no counts by row: found \[1\], wanted an object\. Delete"):
        caption(settings(tmp_path), units(1), Script())


def test_a_picture_that_can_not_be_prepared_is_a_row(tmp_path: Path) -> None:
    caption(settings(tmp_path), [unit(0, [png(0), png(1, UNPREPARABLE_SIZE)])], Script())
    assert "prepared for the captioner: ValueError: what a shape" in table(tmp_path)[1]["error_message"]


def test_rows_that_do_not_reconcile_leave_the_unit_unfinished(tmp_path: Path) -> None:
    work = [units(1)[0], dataclasses.replace(units(2)[1], stated_rows=11)]
    with pytest.raises(UserError, match="00001: rows do not reconcile: found 10 rows, wanted 11"):
        caption(settings(tmp_path), work, Script())
    assert [path.name for path in tmp_path.glob("*_stats.json")] == ["00000_stats.json"]


class FlakyUnit(ListUnit):
    """Fails to read its third row as a network file system does, the first times."""

    failures: ClassVar[list[str]] = []

    def rows(self) -> Iterator[InputRow]:
        for place, row in enumerate(self.content):
            if place == 2 and len(self.failures) < 2:
                self.failures.append(row.key)
                raise OSError(116, "Stale file handle")
            yield row


def test_reading_goes_on_where_it_failed_in_passing(tmp_path: Path) -> None:
    FlakyUnit.failures.clear()
    reports = caption(settings(tmp_path), [FlakyUnit(name="00000", content=units(1)[0].content)], Script())
    assert reports["00000"].statuses == {"success": 10} and len(FlakyUnit.failures) == 2


class OutageUnit(ListUnit):
    """Is out of reach for a while, at first in its middle, then from its first row on; later once before every row."""

    failures: ClassVar[list[str]] = []

    def rows(self) -> Iterator[InputRow]:
        if "3" in self.failures:
            self._fail_once("opened again")
            self._fail_once("and again")
        for place, row in enumerate(self.content):
            if place >= 3:
                self._fail_once(str(place))
            yield row

    def _fail_once(self, what: str) -> None:
        if what not in self.failures:
            self.failures.append(what)
            raise OSError(5, "Input/output error")


def test_an_outage_is_waited_out_wherever_it_strikes_and_progress_begins_the_count_anew(tmp_path: Path) -> None:
    OutageUnit.failures.clear()
    work = [OutageUnit(name="00000", content=units(1)[0].content)]
    caption(settings(tmp_path / "outage", write_retries=3), work, Script())
    assert OutageUnit.failures == ["3", "opened again", "and again", *map(str, range(4, 10))]
    caption(settings(tmp_path / "undisturbed"), units(1), Script())
    assert parquets(tmp_path / "outage") == parquets(tmp_path / "undisturbed")
    OutageUnit.failures.clear()
    with pytest.raises(OSError, match="Input/output error"):
        caption(settings(tmp_path / "short", write_retries=2), work, Script())


def test_a_defect_of_decoding_ends_the_run_and_is_no_captioner_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr("recaption.engine.decoding.prepare_picture", broken)
    with pytest.raises(RuntimeError, match="a defect"):
        caption(settings(tmp_path), units(1), Script())
    assert not list(tmp_path.glob("*.parquet"))


class GatheringCaptioner(ScriptedCaptioner):
    """Keeps all it is given until it has `room`, as a server with a large batch does, and answers in reverse."""

    room = 25
    most_units = 0

    def answer(self, items: Iterator[Item]) -> Iterator[Result]:
        held: list[Request] = []
        while True:
            while len(held) < self.room and (item := next(items, None)) is not None:
                if isinstance(item, Request):
                    held.append(item)
            if not held:
                return
            request = held.pop()
            yield Answered(ticket=request.ticket, captions=(Caption(
                text=str(request.ticket), finish_reason="stop", num_tokens=1, mean_logprob=None
            ),))  # fmt: skip


def test_a_captioner_with_room_for_many_units_is_never_kept_waiting(tmp_path: Path) -> None:
    """With two units in flight at most and no row answered before 25 are held, it would wait for ever."""
    config = begin(settings(tmp_path, units_in_flight=2, rows_ahead=4))
    opened = caption_units(config, units(8), open_captioner=lambda config: GatheringCaptioner(Script(), {}))
    reports = {report.name: report.statuses for report in opened}
    assert reports == {f"{index:05d}": {"success": 10} for index in range(8)}
    tickets = [int(row["re_caption"]) for index in range(8) for row in table(tmp_path, f"{index:05d}")]
    assert tickets == list(range(1, 81)), "results are joined by ticket"


class CountingUnits:
    """Counts how many rows were read."""

    def __init__(self, work: list[ListUnit]):
        self.work, self.num_read = work, 0

    def __iter__(self) -> Iterator[Any]:
        for one in self.work:
            self.num_read += one.count_rows()
            yield one


def test_memory_is_bounded_while_the_captioner_is_slow(tmp_path: Path) -> None:
    from recaption.engine.worker import caption_stream

    counting = CountingUnits(units(20, num_rows=5))
    most_ahead = 0
    config = begin(settings(tmp_path, rows_ahead=6, units_in_flight=2))
    for done, _ in enumerate(caption_stream(config, iter(counting), open_captioner=lambda c: ScriptedCaptioner(
        Script(batch_seconds=0.01), {}
    )), start=1):  # fmt: skip
        most_ahead = max(most_ahead, counting.num_read - 5 * done)
    # Two units under way, and up to three whose writes are not reported yet.
    assert 0 < most_ahead <= 25
