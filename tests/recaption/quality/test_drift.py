"""A unit that is unlike the run's first ones stops the run before it counts; the run goes on once it is put right."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from imagetext.sidecars import is_complete, read_mark
from recaption.captioners.base import Answered, Caption, Item, Request, Result
from recaption.config import RecaptionConfig
from recaption.executors.local import caption_units
from recaption.inputs.units import InputRow
from recaption.quality.calibration import CALIBRATION, calibrate, departures, read_calibration
from recaption.quality.config import DriftConfig
from recaption.quality.rates import measure_rows
from runtime.errors import UserError
from tests.recaption.engine.scripted import ListUnit, begin, png, prepare, settings

DRIFT = DriftConfig(calibration_rows=20, rows_min=8, deviations=2.0)
NUM_ROWS = 12
THINGS = ("dog", "cat", "cup", "tree", "boat", "kite", "house", "bird", "lamp", "tent", "hat", "fish")


class Turning:
    """Says something of its own of every picture, until the pictures of some units come."""

    captioner_id = "scripted"

    def __init__(self, says: Callable[[str, int], str], sound: tuple[str, ...]):
        self._says, self._sound = says, sound

    @property
    def prepare(self) -> Callable[[Any], Any]:
        return prepare

    def answer(self, items: Iterator[Item]) -> Iterator[Result]:
        for item in items:
            if isinstance(item, Request):
                unit, place = item.key.split("-")
                text = sentence(unit, int(place)) if unit in self._sound else self._says(unit, int(place))
                said = Caption(text=text, finish_reason="stop", num_tokens=9, mean_logprob=-0.5)
                yield Answered(ticket=item.ticket, captions=(said,))


def sentence(unit: str, place: int) -> str:
    return f"A {THINGS[place]} stands beside a {THINGS[(place + int(unit)) % 12]} on a wide lawn."


def work(num_units: int) -> list[ListUnit]:
    names = [f"{index:05d}" for index in range(num_units)]
    return [
        ListUnit(
            name=name, content=tuple(InputRow(key=f"{name}-{place}", image=png(place)) for place in range(NUM_ROWS))
        )
        for name in names
    ]


def caption(
    folder: Path, says: Callable[[str, int], str], *, sound: tuple[str, ...] = ("00000", "00001", "00003"), **drift: Any
) -> RecaptionConfig:
    config = begin(dataclasses.replace(settings(folder), drift=dataclasses.replace(DRIFT, **drift)))
    left = [unit for unit in work(4) if not is_complete(folder, unit.name)]
    list(caption_units(config, left, open_captioner=lambda _: Turning(says, sound)))
    return config


SABOTAGES: dict[str, tuple[Callable[[str, int], str], str]] = {
    "blind": (lambda unit, place: "A dog stands beside a cat on a wide lawn.", "repeat another's: 100.0%"),
    "short": (lambda unit, place: f"A {THINGS[place]} on lawn.", "mean length: 4.0 words"),
    "refusing": (lambda unit, place: f"I cannot describe this {THINGS[place]} for you.", "flag refusal: 100.0%"),
    "foreign words": (lambda unit, place: sentence(unit, place)[::-1], "70% of the words are new"),
}


@pytest.mark.parametrize("sabotage", SABOTAGES)
def test_a_unit_unlike_the_first_ones_stops_the_run(tmp_path: Path, sabotage: str) -> None:
    says, told = SABOTAGES[sabotage]
    with pytest.raises(UserError, match=r"unit 00002: captions have drifted") as raised:
        caption(tmp_path, says)
    assert told in str(raised.value) and "the like of 00000, 00001" in str(raised.value)
    assert "--drift.accept '[\"00002\"]'" in str(raised.value)
    assert not is_complete(tmp_path, "00002") and is_complete(tmp_path, "00001")
    # Put right, the run goes on with the unit that stopped it.
    caption(tmp_path, sentence)
    assert is_complete(tmp_path, "00002") and "drift" not in read_mark(tmp_path, "00002")


@pytest.mark.parametrize("override", [{"stop": False}, {"accept": ["00002"]}])
def test_drift_that_is_accepted_stands_in_the_mark(
    tmp_path: Path, override: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    caption(tmp_path, SABOTAGES["blind"][0], **override)
    assert "00002 has drifted: captions that repeat another's: 100.0%" in capsys.readouterr().err
    assert read_mark(tmp_path, "00002")["drift"] and "drift" not in read_mark(tmp_path, "00003")


def test_rates_stand_in_every_mark(tmp_path: Path) -> None:
    caption(tmp_path, sentence)
    rates = read_mark(tmp_path, "00000")["rates"]
    assert rates["num_captioned"] == NUM_ROWS and rates["clean_share"] == 1.0 and rates["failed_share"] == 0.0
    # 00000 has each thing beside itself, in ten words.
    assert rates["mean_words"] == 10.0 and rates["flags"] == {}


def test_another_runs_calibration_judges_from_the_first_unit_on(tmp_path: Path) -> None:
    caption(tmp_path / "sound", sentence)
    with pytest.raises(UserError, match="unit 00000: captions have drifted"):
        caption(tmp_path / "other", SABOTAGES["refusing"][0], sound=(), reference=tmp_path / "sound")
    with pytest.raises(UserError, match="no calibration"):
        caption(tmp_path / "third", sentence, reference=tmp_path / "nowhere")


def test_failed_rows_are_told_also_where_nothing_is_left() -> None:
    good = [{"key": str(i), "status": "success", "re_caption": sentence("1", i), "flags": []} for i in range(12)]
    bad = [{**row, "status": "failed_to_caption", "re_caption": None} for row in good]
    absent = [{**row, "status": "failed_to_download", "re_caption": None} for row in good]
    calibration = calibrate({"00000": good})
    assert departures(calibration, bad, measure_rows(bad), DRIFT)[0].startswith("failed rows: 100.0%")
    assert departures(calibration, absent, measure_rows(absent), DRIFT) == []
    assert departures(calibration, good[:4], measure_rows(good[:4]), DRIFT) == []


def test_lower_scores_are_drift_and_higher_ones_are_not() -> None:
    row = {"status": "success", "re_caption": "A dog on a lawn.", "flags": []}
    scored = {score: [{**row, "key": str(i), "re_clip_score": score} for i in range(12)] for score in (0.3, 0.2, 0.4)}
    calibration = calibrate({"00000": scored[0.3]})
    assert departures(calibration, scored[0.2], measure_rows(scored[0.2]), DRIFT) == [
        "mean CLIP score: 0.200, wanted 0.280 or more"
    ]
    assert departures(calibration, scored[0.4], measure_rows(scored[0.4]), DRIFT) == []


def test_a_damaged_calibration_is_refused(tmp_path: Path) -> None:
    caption(tmp_path, sentence)
    path = tmp_path / CALIBRATION
    assert read_calibration(tmp_path).units == ("00000", "00001")
    path.write_text('{"units": [], "rates": {"num_rows": 1}, "words": [], "unknown_share": 0}')
    with pytest.raises(UserError, match="no calibration"):
        read_calibration(path)
