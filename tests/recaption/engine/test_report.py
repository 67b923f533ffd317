"""Which stage holds the others up, and what the log says to do about it."""

import itertools
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import pytest

from recaption.captioners.base import Item, Result
from recaption.config import RecaptionConfig
from recaption.engine.clock import StageClock
from recaption.engine.report import StageTotals, UnitReport
from recaption.engine.worker import caption_stream
from recaption.engine_config import EngineConfig
from runtime.errors import UserError
from tests.recaption.engine.scripted import Script, ScriptedCaptioner, begin, settings, units


def report(decode_processes: int = 2, **seconds: float) -> UnitReport:
    return UnitReport(
        name="00000",
        num_rows=1,
        statuses={"success": 1},
        seconds=seconds,
        wall_seconds=10.0,
        decode_processes=decode_processes,
    )


@pytest.mark.parametrize(
    ("seconds", "bottleneck", "advice"),
    [
        ({"captioning": 9.5, "waiting": 0.5, "decoding": 12.0}, "captioning", "raise batch_size"),
        ({"prefill": 6.0, "decode": 3.0, "waiting": 1.0, "reading": 5.0}, "prefill", "the model is the limit"),
        ({"prefill": 3.0, "decode": 6.0}, "decode", "raise batch_size"),
        ({"captioning": 2.0, "waiting": 8.0, "decoding": 14.0, "preprocessing": 5.0, "reading": 7.5}, "decoding",
         "raise engine.decode_processes (now 2)"),
        ({"captioning": 2.0, "waiting": 8.0, "decoding": 5.0, "preprocessing": 9.0, "reading": 1.0}, "preprocessing",
         "raise engine.decode_processes (now 2)"),
        ({"captioning": 2.0, "waiting": 8.0, "decoding": 3.0, "reading": 9.0}, "reading", "faster storage"),
        ({"captioning": 4.0, "waiting": 1.0, "writing": 9.8}, "writing", "write to faster storage"),
    ],
)  # fmt: skip
def test_the_bottleneck_is_named_with_what_to_change(seconds: dict[str, float], bottleneck: str, advice: str) -> None:
    made = report(2, **seconds)
    assert made.bottleneck == bottleneck
    assert f"bottleneck: {bottleneck}: " in made.describe() and advice in made.describe()


def test_shares_are_of_the_time_that_passed_and_processes_share_theirs() -> None:
    said = report(captioning=5.0, waiting=2.5, decoding=8.0).describe()
    assert said.startswith("decoding 40 %, waiting 25 %, captioning 50 % of the time")


def test_a_job_s_line_adds_up_its_units() -> None:
    totals = StageTotals()
    assert totals.describe() == "no time was taken"
    totals.add(report(captioning=1.0, waiting=9.0, decoding=18.0))
    totals.add(report(captioning=5.0, waiting=5.0, decoding=12.0))
    assert totals.describe().startswith(
        "decoding 75 %, waiting 70 %, captioning 30 % of the time; bottleneck: decoding"
    )


def test_no_time_no_bottleneck() -> None:
    assert report().bottleneck is None and report().describe() == "no time was taken"


def test_the_clock_adds_up_and_starts_again() -> None:
    clock = StageClock()
    clock.add("reading", 1.0)
    clock.add("reading", 0.5)
    with pytest.raises(KeyError), clock.time("writing"):
        raise KeyError
    seconds, wall_seconds = clock.take()
    assert seconds["reading"] == 1.5 and 0 <= seconds["writing"] <= wall_seconds
    assert clock.take()[0] == {}


class TimedCaptioner(ScriptedCaptioner):
    """Takes as long over prefills and decoding as it says, and as long again over what it does not tell apart."""

    def __init__(self) -> None:
        super().__init__(Script(), {})
        self.taken: dict[str, float] = {}
        self.totals: Counter[str] = Counter()

    def answer(self, items: Iterator[Item]) -> Iterator[Result]:
        for result in super().answer(items):
            for stage, seconds in (("prefill", 0.01), ("decode", 0.02), ("neither", 0.01)):
                began = time.monotonic()
                time.sleep(seconds)
                self.taken[stage] = self.taken.get(stage, 0.0) + time.monotonic() - began
            yield result

    def take_seconds(self) -> Mapping[str, float]:
        taken, self.taken = self.taken, {}
        self.totals.update(taken)
        return taken


def _handed_over(captioner: TimedCaptioner, config: RecaptionConfig) -> TimedCaptioner:
    return captioner


def test_a_captioner_s_stages_add_up_to_the_time_that_passed(tmp_path: Path) -> None:
    # The first run checks the types of all that it calls for the first time.
    for turn in range(2):
        config, captioner = begin(settings(tmp_path / str(turn))), TimedCaptioner()
        reports = list(caption_stream(config, iter(units(2)), open_captioner=partial(_handed_over, captioner)))
    found: Counter[str] = Counter()
    for report in reports:
        found.update(report.seconds)
    own = ("waiting", "prefill", "decode", "captioning")
    # What is left is the settling of rows between two answers.
    assert 0.8 < sum(found[stage] for stage in own) / sum(report.wall_seconds for report in reports) <= 1.001, found
    assert (found["prefill"], found["decode"]) == (captioner.totals["prefill"], captioner.totals["decode"])
    assert found["captioning"] >= captioner.totals["neither"] > 0.2


@pytest.mark.parametrize(
    ("field", "value"),
    [("decode_processes", -1), ("rows_ahead", 0), ("captioning_seconds_max", 0.0), ("row_attempts", 1)],
)
def test_settings_out_of_range_are_refused_by_name(field: str, value: float) -> None:
    with pytest.raises(UserError, match=f"{field}: out of range: found {value}, wanted >=? ?[012]"):
        EngineConfig(**{field: value})  # type: ignore[arg-type]


def test_decode_processes_follow_the_machine_only_where_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(16)))
    made = {
        (on_cpu, workers): EngineConfig().num_decode_processes(on_cpu=on_cpu, num_workers=workers)
        for on_cpu, workers in itertools.product((True, False), (1, 4, 16))
    }
    assert made == {(True, 1): 0, (True, 4): 0, (True, 16): 0, (False, 1): 8, (False, 4): 3, (False, 16): 1}
    assert EngineConfig(decode_processes=5).num_decode_processes(on_cpu=True, num_workers=4) == 5
