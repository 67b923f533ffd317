"""The stream of requests into a captioner, and where its results go.

A row is asked in its place among the rows of its unit. One that fails in passing is asked again alone: a frame of holes
stands for the rest of its unit, so that whoever batches by position gives it the batch it always has. Rows whose
captions have defects are asked again side by side, once all others of their unit are settled: their batches, too,
follow from their places, and one that fails among them is asked in a frame of theirs. A row over which workers or
captioners died is a suspect: it is asked with nothing else in flight, so that it can only bring down itself.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

from recaption.captioners.base import Answered, Caption, Failed, Hole, Item, Request, Result, UnitEnd
from recaption.engine.black_box import BlackBox
from recaption.engine.loading import Loader
from recaption.engine.open_units import GAVE_UP, REJECTED, OpenRow, OpenUnit, died_over
from recaption.engine.transient import pause_seconds

GIVEN_UP_IN_A_ROW_MAX = 100
"""Rows given up on for a captioner that is not there, with no caption in between, before the run stops: it would go on
to give up on all that is left."""

Book = Callable[[OpenRow, tuple[Caption, ...]], bool]
"""Settles a row with its captions and returns True, or says how it is to be asked again and returns False."""


class Stream:
    """What is asked of one captioner after the other, over all units of a worker.

    `items` may be iterated in another thread than the one that settles results.
    """

    def __init__(
        self,
        loader: Loader,
        *,
        row_attempts: int,
        box: BlackBox,
        book: Book,
        share_again_max: float = 1.0,
        on_hand_out: Callable[[OpenRow], None] | None = None,
    ):
        self._loader, self._row_attempts, self._box, self._book = loader, row_attempts, box, book
        self._share_again_max, self._on_hand_out = share_again_max, on_hand_out
        self._rounds: deque[tuple[OpenRow, ...]] = deque()
        self._lock = threading.Lock()
        self._units: list[OpenUnit] = []
        self._asked: dict[int, OpenRow] = {}
        self._again: deque[OpenRow] = deque()
        self._suspects: deque[OpenRow] = deque()
        self._num_tickets = 0
        self._num_captioners = 1
        self._taking = threading.Lock()
        self._thread = threading.get_ident()
        self._waited_seconds = 0.0
        self._num_unavailable = 0
        self._loaded_all = False
        self.finished: deque[OpenUnit] = deque()
        """Units whose rows are all settled; whoever writes them takes them out."""

    @property
    def num_in_flight(self) -> int:
        """Return how many rows the captioner has not answered."""
        return len(self._asked)

    @property
    def ended(self) -> bool:
        """Tell whether nothing is left to ask and to wait for."""
        return self._loaded_all and not self._units

    @property
    def reading_error(self) -> BaseException | None:
        """Return what stopped the reading of units."""
        return self._loader.error

    def items(self) -> Iterator[Item]:
        """Yield what to ask until all rows were asked, a suspect wants to be alone, or reading failed."""
        with self._lock:
            captioner = self._num_captioners
            replayed = self._replay()
        yield from self._shown(replayed)
        while (item := self._next_item(captioner)) is not None:
            yield from self._shown([item])
            if isinstance(item, UnitEnd):
                yield from self._asked_again(captioner)
                if self._suspects:
                    break
        yield from self._asked_again(captioner)

    def take_suspect(self) -> OpenRow | None:
        """Return the next row to ask about alone, once nothing is in flight."""
        assert not self._asked, "a suspect would share its captioner"
        return self._suspects.popleft() if self._suspects else None

    def suspect_items(self, row: OpenRow) -> Iterator[Item]:
        """Yield what asks about one suspect alone."""
        with self._lock:
            frame = self._frame(row)
        yield from self._shown(frame)

    def settle(self, result: Result) -> None:
        """Book a result: its row is settled, or asked again later."""
        with self._lock:
            row = self._asked.pop(result.ticket, None)
            assert row is not None, f"the captioner answered ticket {result.ticket}, which it does not have"
            self._box.land(row.slot)
            row.slot = None
            if isinstance(result, Answered):
                if not self._book(row, result.captions):
                    row.state = "defective"
                    row.unit.defective.append(row)
                self._num_unavailable = 0
            else:
                self._fail(row, result)
            self._finish(row.unit)
            self._beat()

    def lose_captioner(self, on_death: Callable[[str, list[int]], object]) -> bool:
        """Take back what a lost captioner had; return whether a row was given up on.

        `on_death(unit, rows)` counts the death over the rows in flight. A row is then asked in its place once more, or
        as a suspect when it is on its last chance, or given up on.
        """
        gave_up = False
        with self._lock:
            self._num_captioners += 1
            lost, self._asked = list(self._asked.values()), {}
            for unit in {row.unit.serial: row.unit for row in lost}.values():
                on_death(unit.unit.name, [row.index for row in lost if row.unit is unit])
            for row in lost:
                self._box.land(row.slot)
                row.slot, row.state = None, "waiting"
                row.deaths += 1
                if row.deaths >= self._row_attempts:
                    row.fail(GAVE_UP, died_over(row.deaths))
                    self._finish(row.unit)
                    gave_up = True
                elif row.round:
                    self._return_to_round(row)
            self._box.leave("captioning")
        return gave_up

    def take_waited_seconds(self) -> float:
        """Return the seconds, since the last call, in which the captioner had nothing to do but wait for pictures."""
        with self._lock:
            waited, self._waited_seconds = self._waited_seconds, 0.0
        return waited

    def seconds_until_asking(self) -> float:
        """Return how long to wait before the rows that are left may be asked again."""
        with self._lock:
            due = min((row.not_before for row in self._again), default=0.0)
        return max(0.0, due - time.monotonic())

    def _next_item(self, captioner: int) -> Item | None:
        """Return the item of the next row, or of its unit's end; None where there is none, or for a lost captioner."""
        # Whoever waits for a picture is not stuck in the captioner.
        self._box.leave("captioning")
        began = time.monotonic()
        # A thread of a lost captioner may still be waiting here; what comes is put back before another takes.
        with self._taking:
            loaded = self._loader.take()
            if threading.get_ident() == self._thread or not self._asked:
                self._waited_seconds += time.monotonic() - began
            with self._lock:
                if loaded is None:
                    self._loaded_all = self._loader.error is None
                    return None
                if captioner != self._num_captioners:
                    self._loader.put_back(loaded)
                    return None
                return self._hand_out(loaded) if isinstance(loaded, OpenRow) else self._close(loaded.unit)

    def _shown(self, items: list[Item]) -> Iterator[Item]:
        """Yield items, noting that the captioner moved with each."""
        for item in items:
            self._box.enter("captioning")
            yield item
        self._beat()

    def _beat(self) -> None:
        """Note that the captioner moved; without anything in flight it has nothing to be stuck at."""
        (self._box.enter if self._asked else self._box.leave)("captioning")

    def _replay(self) -> list[Item]:
        """Return what brings a new captioner to where the lost one was: every unsettled row in its old place."""
        items: list[Item] = []
        for unit in list(self._units):
            told = unit.rows[: unit.num_handed_out]
            if not unit.all_read or any(row.state == "waiting" for row in told):
                items.extend(self._item(row) for row in told)
                if unit.all_read:
                    items.append(UnitEnd())
        return items

    def _hand_out(self, row: OpenRow) -> Item:
        if row.index == 0:
            self._units.append(row.unit)
        row.unit.num_handed_out += 1
        if self._on_hand_out is not None:
            self._on_hand_out(row)
        if row.refusal is not None:
            row.fail(*row.refusal)
        return self._item(row)

    def _item(self, row: OpenRow) -> Item:
        """Return a row's item in its place: a hole where there is nothing to ask, or not here."""
        if row.state != "waiting":
            return Hole()
        if self._is_suspect(row):
            return Hole()
        return self._request(row)

    def _is_suspect(self, row: OpenRow) -> bool:
        """Tell whether a row is on its last chance, and queue it for that."""
        if not row.deaths or row.deaths < self._row_attempts - 1:
            return False
        row.state = "suspect"
        self._suspects.append(row)
        return True

    def _return_to_round(self, row: OpenRow) -> None:
        if not self._is_suspect(row):
            row.state = "again"
            self._again.append(row)

    def _request(self, row: OpenRow) -> Request:
        self._num_tickets += 1
        row.state = "asked"
        row.askings += 1
        row.slot = self._box.depart(row.unit.serial, row.index)
        self._asked[self._num_tickets] = row
        return row.request(self._num_tickets)

    def _close(self, unit: OpenUnit) -> Item:
        if not unit.rows:
            self._units.append(unit)
        unit.all_read = True
        self._finish(unit)
        return UnitEnd()

    def _finish(self, unit: OpenUnit) -> None:
        if unit.finished:
            self._units.remove(unit)
            self.finished.append(unit)
            self._loader.finished_unit()
        elif unit.all_read and unit.defective and unit.num_settled + len(unit.defective) == len(unit.rows):
            self._rounds.extend(unit.take_rounds(self._share_again_max))

    def _fail(self, row: OpenRow, failed: Failed) -> None:
        if failed.kind == "rejected":
            row.fail(REJECTED, failed.message)
        elif row.num_failures >= self._row_attempts:
            row.fail(GAVE_UP, f"{failed.kind} {row.num_failures} times, at last: {failed.message}")
            if failed.kind != "out_of_memory":
                self._give_up_on_captioner(failed)
        else:
            row.state = "again"
            row.out_of_memory = failed.kind == "out_of_memory"
            pause = 0.0 if row.out_of_memory else pause_seconds(row.num_failures - 1)
            row.not_before = time.monotonic() + pause
            self._again.append(row)

    def _give_up_on_captioner(self, failed: Failed) -> None:
        self._num_unavailable += 1
        if self._num_unavailable >= GIVEN_UP_IN_A_ROW_MAX:
            raise OSError(f"the captioner did not answer {self._num_unavailable} rows in a row: {failed.message}")

    def _asked_again(self, captioner: int) -> Iterator[Item]:
        """Yield what asks once more: defective rows side by side, and each alone those whose pause is over."""
        while True:
            with self._lock:
                frame = self._next_frame() if captioner == self._num_captioners else None
            if frame is None:
                return
            yield from self._shown(frame)

    def _next_frame(self) -> list[Item] | None:
        if self._rounds:
            return [*(self._request(row) for row in self._rounds.popleft()), UnitEnd()]
        due = next((row for row in self._again if row.not_before <= time.monotonic()), None)
        if due is None:
            return None
        self._again.remove(due)
        return self._frame(due)

    def _frame(self, row: OpenRow) -> list[Item]:
        """Return a row's unit with holes for all others; where memory ran out, the row by itself."""
        request = self._request(row)
        if row.out_of_memory:
            return [request, UnitEnd()]
        if row.round:
            return [*(request if other is row else Hole() for other in row.round), UnitEnd()]
        num_after = max(0, row.unit.num_rows - row.index - 1)
        return [*[Hole()] * row.index, request, *[Hole()] * num_after, UnitEnd()]
