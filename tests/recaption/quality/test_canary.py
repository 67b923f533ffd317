"""A captioner that does not look at its pictures, mixes its answers up or says nonsense is refused before it begins."""

import dataclasses
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from recaption.captioners.base import Answered, Caption, Item, Request, Result
from recaption.config import RecaptionConfig
from recaption.executors.local import caption_units
from recaption.inputs.units import InputRow
from recaption.quality.canary import Asked, find_faults, read_known, scatter
from recaption.quality.config import CanaryConfig
from runtime.errors import UserError
from tests.recaption.engine.scripted import ListUnit, begin, settings, table

WORDS = ("red", "green", "blue", "amber", "violet", "white", "black", "grey", "pink", "navy", "teal", "lime")


def picture(seed: int) -> bytes:
    """Return a picture of three by three squares."""
    squares = np.random.default_rng(seed).integers(0, 256, (3, 3, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(squares.repeat(8, axis=0).repeat(8, axis=1)).save(buffer, "PNG")
    return buffer.getvalue()


def pixels_of(image: Image.Image) -> np.ndarray:
    return np.asarray(image.resize((9, 9), Image.Resampling.NEAREST))


class Seer:
    """Names the pixels of its picture in words: the nearest thing to seeing that needs no model."""

    captioner_id = "scripted"

    def __init__(self, sabotage: Callable[[np.ndarray], np.ndarray], says: Callable[[str], str], turned: int):
        self._sabotage, self._says, self._turned = sabotage, says, turned
        self.num_asked = 0

    @property
    def prepare(self) -> Callable[[Any], Any]:
        return pixels_of

    def answer(self, items: Iterator[Item]) -> Iterator[Result]:
        requests = [item for item in items if isinstance(item, Request)]
        self.num_asked += len(requests)
        for place, request in enumerate(requests):
            pixels = self._sabotage(requests[(place + self._turned) % len(requests)].picture)
            words = [WORDS[int(value) * len(WORDS) // 256] for value in pixels[1::3, 1::3, 0].ravel()]
            text = self._says(f"A field of {', '.join(words)} squares.")
            said = Caption(text=text, finish_reason="stop", num_tokens=9, mean_logprob=-0.5)
            yield Answered(ticket=request.ticket, captions=(said,) * len(request.prompts))


def seer(
    *,
    sabotage: Callable[[np.ndarray], np.ndarray] = lambda pixels: pixels,
    says: Callable[[str], str] = lambda text: text,
    turned: int = 0,
) -> Seer:
    return Seer(sabotage, says, turned)


def run(folder: Path, captioner: Seer, num_rows: int = 10, **canary: Any) -> RecaptionConfig:
    config = begin(dataclasses.replace(settings(folder), canary=CanaryConfig(**canary)))
    rows = tuple(InputRow(key=f"k{index}", image=picture(index)) for index in range(num_rows))
    list(caption_units(config, [ListUnit(name="00000", content=rows)], open_captioner=lambda _: captioner))
    return config


SABOTAGES = {
    "projector zeroed": (seer(sabotage=np.zeros_like), "one caption for 8 of 8 pictures: 'A field of red"),
    "tokenizer swapped": (seer(says=lambda text: f"▁{text[::-1]}"), "captions with defects for 8 of 8 pictures"),
    "images shuffled": (seer(turned=1), "asked twice, it says the like of"),
}


@pytest.mark.parametrize("sabotage", SABOTAGES)
def test_a_sabotaged_captioner_is_refused_before_its_first_row(tmp_path: Path, sabotage: str) -> None:
    captioner, told = SABOTAGES[sabotage]
    with pytest.raises(UserError, match="the captioner failed its canary") as raised:
        run(tmp_path, captioner)
    assert told in str(raised.value) and "--canary.pictures 0" in str(raised.value)
    assert not list(tmp_path.glob("*.parquet"))


def test_a_sound_captioner_is_asked_and_begins_with_the_first_row(tmp_path: Path) -> None:
    captioner = seer()
    run(tmp_path, captioner)
    assert len(table(tmp_path)) == 10 and captioner.num_asked == 10 + 3 * 8 + 3


@pytest.mark.parametrize("canary", [{"pictures": 0}, {"pictures": 11}])
def test_nothing_is_asked_where_that_is_wanted_or_pictures_are_too_few(tmp_path: Path, canary: dict[str, int]) -> None:
    captioner = seer(sabotage=np.zeros_like)
    run(tmp_path, captioner, **canary)
    assert captioner.num_asked == 10


def test_known_pictures_have_to_be_told_by_their_captions(tmp_path: Path) -> None:
    known = tmp_path / "known"
    known.mkdir()
    sound = seer()
    for index in range(5):
        (known / f"{index}.png").write_bytes(picture(index))
        request = Request(ticket=1, picture=pixels_of(Image.open(known / f"{index}.png")), prompts=("",))
        (said,) = sound.answer(iter([request]))
        assert isinstance(said, Answered)
        (known / f"{index}.txt").write_text(said.captions[0].text)
    run(tmp_path / "sound", seer(), known=known, pictures=5)
    # Words exchanged one for another: every caption differs, is fit, and is said twice alike.
    others = dict(zip(WORDS, (*WORDS[5:], *WORDS[:5]), strict=True))
    swapped = seer(says=lambda text: " ".join(others.get(word.strip(","), "hue") for word in text.split()) + ".")
    with pytest.raises(UserError, match=r"of 5 pictures with known captions, [0-2] are told by theirs"):
        run(tmp_path / "swapped", swapped, known=known, pictures=5)
    with pytest.raises(UserError, match="too few known pictures: found 5, wanted 8 pictures"):
        run(tmp_path / "few", seer(), known=known)


def test_what_gives_a_captioner_away(tmp_path: Path) -> None:
    config = settings(tmp_path)
    sound = [f"A {word} bird on a wall." for word in WORDS[:4]]
    blank = ["A plain wall."] * 3

    def faults(**said: Any) -> list[str]:
        asked = Asked(**{"first": sound, "again": sound, "scattered": sound[::-1], "blank": blank, **said})
        return list(find_faults(config, asked))

    assert faults() == []
    assert faults(blank=[sound[0], *blank]) == []
    assert "blank picture for 4 of 4" in faults(blank=sound)[0]
    assert "parts in other places" in faults(scattered=sound)[0]
    assert "says the like of 0 of 4" in faults(again=sound[1:] + sound[:1])[0]
    # A captioner that does not answer is for the run to deal with.
    assert faults(first=[None] * 4, again=[None] * 4) == []


def test_scattered_pictures_have_the_same_pixels_elsewhere() -> None:
    whole = Image.fromarray(np.random.default_rng(0).integers(0, 255, (16, 20, 3), dtype=np.uint8))
    scattered = scatter(whole, 3)
    assert scattered.size == whole.size and scattered.tobytes() != whole.tobytes()
    assert sorted(np.asarray(scattered).ravel()) == sorted(np.asarray(whole).ravel())
    assert scatter(Image.new("RGB", (2, 9)), 0).size == (2, 9)


def test_settings_and_folders_that_cannot_be_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"canary.pictures: out of range: found 2, wanted 0, or 4 or more"):
        CanaryConfig(pictures=2)
    for index in range(4):
        (tmp_path / f"{index}.png").write_bytes(b"no picture")
        (tmp_path / f"{index}.txt").write_text("A dog.")
    with pytest.raises(UserError, match="known picture can't be decoded"):
        read_known(tmp_path, 4)
