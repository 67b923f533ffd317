"""Read units and have their pictures prepared ahead of the captioner, in order and within bounds of memory."""

import dataclasses
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from itertools import islice

from recaption.engine.black_box import BlackBox
from recaption.engine.clock import StageClock
from recaption.engine.decoding import Decoders, Task
from recaption.engine.open_units import GAVE_UP, UNDECODABLE, AllRead, OpenRow, OpenUnit, died_over
from recaption.engine.preparation import Prepared
from recaption.engine.transient import Result, patiently
from recaption.engine_config import EngineConfig
from recaption.inputs.units import InputRow, Unit

ENCODED_BYTES_MAX = 256 << 20
"""Encoded images that wait to be decoded; a folder of photographs would fill gigabytes with `rows_ahead` of them."""


class Loader:
    """A thread that reads rows, and hands them out with their pictures prepared.

    It reads on while fewer than `rows_ahead` rows are waiting, `units_in_flight` units unfinished and not too many
    bytes undecoded; and, whatever else is in flight, when the captioner is waiting for a row: it would wait for ever
    if it keeps rows of finished reading back until its batch is full.
    """

    def __init__(
        self,
        units: Iterator[Unit],
        decoders: Decoders,
        *,
        engine: EngineConfig,
        clock: StageClock,
        box: BlackBox,
        prompts_for: Callable[[InputRow], tuple[str, ...]],
        deaths_of: Callable[[str], dict[int, int]],
    ):
        self._units, self._decoders, self._engine = units, decoders, engine
        self._clock, self._box = clock, box
        self._prompts_for, self._deaths_of = prompts_for, deaths_of
        self._changed = threading.Condition()
        self._ready: deque[OpenRow | AllRead] = deque()
        self._encoded_bytes = 0
        self._num_unfinished = 0
        self._starving = False
        self._ended = False
        self._closed = False
        self.error: BaseException | None = None
        """What stopped the reading; raised by whoever takes rows, once the captioner is out of the way."""

    def start(self) -> None:
        """Begin to read."""
        threading.Thread(target=self._read_all, daemon=True, name="reading").start()

    def close(self) -> None:
        """Stop reading."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def take(self) -> OpenRow | AllRead | None:
        """Return the next row, its picture prepared, or the end of its unit; None after the last, or after an error."""
        with self._changed:
            self._starving = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._ready or self._ended)
            self._starving = False
            if not self._ready:
                return None
            item = self._ready.popleft()
            self._changed.notify_all()
        if isinstance(item, OpenRow) and item.preparing is not None:
            return self._prepared(item, item.preparing)
        return item

    def put_back(self, item: OpenRow | AllRead) -> None:
        """Return what was taken last to where it was taken from."""
        with self._changed:
            self._ready.appendleft(item)

    def finished_unit(self) -> None:
        """Make room for another unit."""
        with self._changed:
            self._num_unfinished -= 1
            self._changed.notify_all()

    def _prepared(self, row: OpenRow, preparing: "Future[Prepared]") -> OpenRow | None:
        try:
            prepared = preparing.result()
        except Exception as error:  # noqa: BLE001 - no row's fault, nor the captioner's, inside which this is called
            self.error = error
            return None
        row.preparing = None
        self._clock.add("decoding", prepared.decoding_seconds)
        self._clock.add("preprocessing", prepared.preprocessing_seconds)
        if prepared.error is not None:
            row.refusal = (UNDECODABLE, prepared.error)
        row.picture = prepared.picture
        return row

    def _read_all(self) -> None:
        try:
            for serial, unit in enumerate(self._units):
                self._read_unit(serial, unit)
                if not self._wait_for_room(lambda: self._num_unfinished < self._engine.units_in_flight):
                    return
        except Exception as error:  # noqa: BLE001 - raised again where it ends the run, not inside a captioner
            self.error = error
        finally:
            self._box.leave("reading")
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _read_unit(self, serial: int, unit: Unit) -> None:
        self._box.enter_unit(serial)
        with self._clock.time("reading"):
            num_rows, deaths = self._patiently(unit, unit.count_rows), self._deaths_of(unit.name)
        opened = OpenUnit(unit=unit, serial=serial, num_rows=num_rows, deaths=deaths, began=time.monotonic())
        with self._changed:
            self._num_unfinished += 1
        for row in self._rows(unit):
            if not self._wait_for_room(lambda: len(self._ready) < self._engine.rows_ahead and self._memory_left()):
                return
            self._put(self._open_row(opened, row))
        self._put(AllRead(unit=opened))

    def _rows(self, unit: Unit) -> Iterator[InputRow]:
        """Yield a unit's rows; where reading fails in passing, from the row that it failed at."""
        unread = _Unread(unit)
        while True:
            self._box.enter("reading")
            with self._clock.time("reading"):
                row = self._patiently(unit, unread.next)
            self._box.leave("reading")
            if row is None:
                return
            yield row

    def _patiently(self, unit: Unit, read: Callable[[], Result]) -> Result:
        def tell(error: OSError, pause: float) -> None:
            self._box.enter("reading")
            print(f"{unit.name}: reading failed ({error}); again in {pause:g} s", file=sys.stderr, flush=True)

        return patiently(read, num_retries=self._engine.write_retries, on_retry=tell)

    def _open_row(self, opened: OpenUnit, row: InputRow) -> OpenRow:
        deaths = opened.deaths.get(len(opened.rows), 0)
        prompts = self._prompts_for(row)
        bare = dataclasses.replace(row, image=None)
        made = OpenRow(unit=opened, index=len(opened.rows), row=bare, prompts=prompts, deaths=deaths)
        opened.rows.append(made)
        if row.image is None:
            made.refusal = (row.status, row.error_message or row.status)
        elif deaths >= self._engine.row_attempts:
            made.refusal = (GAVE_UP, died_over(deaths))
        else:
            made.preparing = self._submit(made, row.image)
        return made

    def _submit(self, row: OpenRow, data: bytes) -> "Future[Prepared]":
        answer: Future[Prepared] = Future()
        answer.add_done_callback(lambda _: self._decoded(row, len(data)))
        with self._changed:
            self._encoded_bytes += len(data)
        self._decoders.submit(Task(data=data, answer=answer, began=lambda: self._decoding_here(row)))
        return answer

    def _decoding_here(self, row: OpenRow) -> None:
        self._box.enter("decoding")
        row.slot = self._box.depart(row.unit.serial, row.index)

    def _decoded(self, row: OpenRow, num_bytes: int) -> None:
        self._box.leave("decoding")
        self._box.land(row.slot)
        row.slot = None
        with self._changed:
            self._encoded_bytes -= num_bytes
            self._changed.notify_all()

    def _memory_left(self) -> bool:
        return self._encoded_bytes < ENCODED_BYTES_MAX

    def _put(self, item: OpenRow | AllRead) -> None:
        with self._changed:
            self._ready.append(item)
            self._changed.notify_all()

    def _wait_for_room(self, room: Callable[[], bool]) -> bool:
        """Wait until there is room, or the captioner asks for what is not there; False when closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or room() or (self._starving and not self._ready))
            return not self._closed


class _Unread:
    """The rows of a unit that were not read yet, opened again after an error: a generator that raised has ended."""

    def __init__(self, unit: Unit):
        self._unit, self._num_read = unit, 0
        self._rows: Iterator[InputRow] | None = None

    def next(self) -> InputRow | None:
        """Return the next row, None after the last."""
        rows, self._rows = self._rows, None
        if rows is None:
            rows = islice(self._unit.rows(), self._num_read, None)
        row = next(rows, None)
        self._rows, self._num_read = rows, self._num_read + 1
        return row
