"""Keep a captioner answering: open it, feed it, and open another where it is lost."""

import gc
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Protocol, runtime_checkable

from recaption.captioners.base import Captioner, CaptionerLostError, Item, Result
from recaption.config import RecaptionConfig
from recaption.engine.attempts import add_deaths
from recaption.engine.black_box import BlackBox
from recaption.engine.clock import StageClock
from recaption.engine.report import CAPTIONING
from recaption.engine.streaming import Stream
from runtime.errors import UserError

OpenCaptioner = Callable[[RecaptionConfig], Captioner]

FRUITLESS_LOSSES_MAX = 3
"""Captioners lost in turn without a row settled in between, before this process is to be replaced: some devices answer
again only to a new one."""


class WorkerSpentError(OSError):
    """This process can't caption any more; another may. The rows that were in flight are counted already."""


@runtime_checkable
class TimesItself(Protocol):
    """A captioner that tells its stages apart."""

    def take_seconds(self) -> Mapping[str, float]:
        """Return the seconds in "prefill" and "decode" since the last call."""


class Answering:
    """One captioner after the other, over one stream. `captioner` is the one at work."""

    def __init__(self, config: RecaptionConfig, open_captioner: OpenCaptioner, *, clock: StageClock, box: BlackBox):
        self._config, self._open_captioner = config, open_captioner
        self._clock, self._box = clock, box
        self._num_fruitless = 0
        self._num_settled = 0
        self.captioner = self._open()

    def settle(self, stream: Stream) -> Iterator[None]:
        """Ask about everything in a stream and settle it there, yielding after every step.

        Raises WorkerSpentError where no captioner of this process answers any more, and what stopped the reading.
        """
        while not stream.ended:
            yield from self._answer(stream, stream.items())
            while not stream.num_in_flight and (suspect := stream.take_suspect()) is not None:
                yield from self._answer(stream, stream.suspect_items(suspect))
            if stream.reading_error is not None:
                raise stream.reading_error
            yield
            time.sleep(stream.seconds_until_asking())

    def take_seconds(self) -> tuple[Mapping[str, float], float]:
        """Return the seconds by stage, and all that passed, since the last call."""
        seconds, wall_seconds = self._clock.take()
        if not isinstance(self.captioner, TimesItself):
            return seconds, wall_seconds
        own = {stage: taken for stage, taken in self.captioner.take_seconds().items() if stage in CAPTIONING}
        rest = max(0.0, seconds.get("captioning", 0.0) - sum(own.values()))
        return {**seconds, **own, "captioning": rest}, wall_seconds

    def _answer(self, stream: Stream, items: Iterator[Item]) -> Iterator[None]:
        results = self.captioner.answer(items)
        while True:
            try:
                result = self._next(stream, results)
            except UserError:
                raise
            except Exception as error:  # noqa: BLE001 - a captioner that raises is lost, whatever it says
                lost: Exception = error
                break
            if result is None:
                if not stream.num_in_flight:
                    return
                lost = CaptionerLostError(f"it ended with {stream.num_in_flight} rows unanswered")
                break
            stream.settle(result)
            self._num_settled += 1
            yield
        del results
        self._replace(stream, f"{type(lost).__name__}: {lost}")
        yield

    def _next(self, stream: Stream, results: Iterator[Result]) -> Result | None:
        began = time.monotonic()
        try:
            return next(results, None)
        finally:
            waited = stream.take_waited_seconds()
            self._clock.add("waiting", waited)
            self._clock.add("captioning", max(0.0, time.monotonic() - began - waited))

    def _replace(self, stream: Stream, reason: str) -> None:
        gave_up = stream.lose_captioner(partial(add_deaths, self._config.output_dir))
        self._num_fruitless = 0 if self._num_settled or gave_up else self._num_fruitless + 1
        self._num_settled = 0
        print(f"captioner lost ({' '.join(reason.split())}); opening it anew", file=sys.stderr, flush=True)
        if self._num_fruitless >= FRUITLESS_LOSSES_MAX:
            raise WorkerSpentError(f"{FRUITLESS_LOSSES_MAX} captioners were lost in turn; the last: {reason}")
        # The old one's memory is needed for the new one.
        del self.captioner
        gc.collect()
        try:
            self.captioner = self._open()
        except UserError:
            raise
        except Exception as error:
            raise WorkerSpentError(f"the captioner was lost ({reason}) and does not open again: {error}") from error

    def _open(self) -> Captioner:
        self._box.enter("opening")
        captioner = self._open_captioner(self._config)
        self._box.leave("opening")
        return captioner
