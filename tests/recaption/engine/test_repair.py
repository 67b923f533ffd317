"""Rows whose captions repeat their own alt-text are asked once more without it, and lose nothing over that."""

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from imagetext.sidecars import RECAPTION_COLUMN
from recaption.captioners.base import Answered, Caption, CaptionerLostError, Failed, Item, Request, Result
from recaption.captioners.positions import batches_by_position
from recaption.config import RecaptionConfig
from recaption.executors.local import caption_units
from recaption.inputs.units import InputRow
from recaption.quality.config import RepairConfig
from runtime.errors import UserError
from tests.recaption.engine.scripted import ListUnit, begin, png, prepare, settings, table

ALT_TEXT = "cheap garden chairs online with free shipping"
HONEST = "Two white chairs stand on a lawn."


class Parrot:
    """Repeats the alt-text wherever it is told one; its keys and prompts are kept."""

    captioner_id = "scripted"

    def __init__(self, asked: list[Request], second: str):
        self._asked, self._second = asked, second

    @property
    def prepare(self) -> Callable[[Any], Any]:
        return prepare

    def answer(self, items: Iterator[Item]) -> Iterator[Result]:
        for item in items:
            if isinstance(item, Request):
                yield self._answer(item)

    def _answer(self, request: Request) -> Result:
        self._asked.append(request)
        again = sum(one.key == request.key for one in self._asked) > 1
        if again and self._second == "refuse":
            return Failed(ticket=request.ticket, kind="rejected", message="no")
        texts = [self._text(prompt, again) for prompt in request.prompts]
        captions = [Caption(text=text, finish_reason="stop", num_tokens=9, mean_logprob=-0.5) for text in texts]
        return Answered(ticket=request.ticket, captions=tuple(captions))

    def _text(self, prompt: str, again: bool) -> str:
        if "with the text" in prompt:
            return f"{ALT_TEXT}." if ALT_TEXT in prompt else HONEST
        return f"{self._second} {HONEST}" if again else HONEST


def _open(asked: list[Request], second: str, config: RecaptionConfig) -> Parrot:
    return Parrot(asked, second)


def captioned(tmp_path: Path, second: str = "Now:", **fields: Any) -> tuple[list[dict[str, Any]], list[Request]]:
    """Return the rows of a unit of three, one without alt-text, one with a harmless one, and what was asked."""
    config = begin(dataclasses.replace(settings(tmp_path), **fields))
    texts = {"a": ALT_TEXT, "b": None, "c": "chairs"}
    rows = tuple(InputRow(key=key, image=png(1), caption=caption) for key, caption in texts.items())
    asked: list[Request] = []
    work = [ListUnit(name="00000", content=rows)]
    assert len(list(caption_units(config, work, open_captioner=partial(_open, asked, second)))) == 1
    return table(tmp_path), asked


def test_a_copying_caption_is_replaced_by_one_without_condition(tmp_path: Path) -> None:
    rows, asked = captioned(tmp_path, prompt="@conditioned")
    assert [row[RECAPTION_COLUMN] for row in rows] == [f"Now: {HONEST}", HONEST, HONEST]
    assert [row["flags"] for row in rows] == [["condition_dropped"], [], []]
    assert [row["attempts"] for row in rows] == [2, 1, 1]
    assert sorted(request.key for request in asked) == ["a", "a", "b", "c"]
    assert ALT_TEXT not in str([request.prompts for request in asked if request.key == "a"][1])


def test_other_prompts_keep_their_first_captions(tmp_path: Path) -> None:
    rows, _ = captioned(tmp_path, more_prompts={"known": "@conditioned"})
    assert [row[RECAPTION_COLUMN] for row in rows] == [HONEST] * 3
    assert [row["re_caption_known"] for row in rows] == [f"Now: {HONEST}", HONEST, HONEST]


def test_a_row_that_fails_the_second_time_keeps_its_first_caption_and_its_flag(tmp_path: Path) -> None:
    rows, _ = captioned(tmp_path, second="refuse", prompt="@conditioned")
    assert (rows[0]["status"], rows[0][RECAPTION_COLUMN]) == ("success", f"{ALT_TEXT}.")
    assert rows[0]["flags"] == ["alt_text_copied"] and rows[0]["attempts"] == 2


def test_an_unconditioned_echo_is_flagged_and_asked_once(tmp_path: Path) -> None:
    rows, asked = captioned(tmp_path, prompt="Two white chairs stand on a lawn, is it so?")
    assert [row["flags"] for row in rows] == [["prompt_echo"]] * 3 and len(asked) == 3


class Scripted:
    """Answers by a picture's number and what it is asked; batches by position, and remembers each batch's keys."""

    captioner_id = "scripted"

    def __init__(self, batches: list[list[str]], lose_at: int = -1):
        self._batches, self._lose_at = batches, lose_at

    @property
    def prepare(self) -> Callable[[Any], Any]:
        return prepare

    def answer(self, items: Iterator[Item]) -> Iterator[Result]:
        for batch in batches_by_position(items, 4):
            requests = [place for place in batch if isinstance(place, Request)]
            self._batches.append([request.key for request in requests])
            if len(self._batches) == self._lose_at:
                raise CaptionerLostError("the device is gone")
            for request in requests:
                said = Caption(**{"finish_reason": "stop", "num_tokens": 9, "mean_logprob": -0.5, **_said(request)})
                yield Answered(ticket=request.ticket, captions=(said,))


LOOP = "A cup on a table, " + "a cup on a table, " * 9
CUT = "A cup stands on a table beside a plate and a"


def _said(request: Request) -> dict[str, Any]:
    """Return a loop, a cut-off caption or a refusal, each cured in its own way, or a sound one."""
    kind = request.key[-1]
    if kind == "3" and request.decoding is None:
        return {"text": LOOP, "finish_reason": "length"}
    if kind == "5" and request.max_new_tokens is None:
        return {"text": CUT, "finish_reason": "length"}
    if kind == "7" and "one short sentence" not in request.prompts[0]:
        return {"text": "I'm sorry, I cannot describe this image."}
    if kind == "8":
        return {"text": f"{LOOP} {request.decoding is None}"}
    return {"text": f"Picture {request.key} in {request.max_new_tokens or 'few'} tokens."}


def scripted(
    output_dir: Path, steps: list[str], *, lose_at: int = -1, **repair: Any
) -> tuple[dict[str, dict[str, Any]], list[list[str]]]:
    config = begin(dataclasses.replace(settings(output_dir), repair=RepairConfig(steps=steps, **repair)))
    rows = tuple(InputRow(key=f"k{index}", image=png(index)) for index in range(10))
    batches: list[list[str]] = []
    work = [ListUnit(name="00000", content=rows)]
    list(caption_units(config, work, open_captioner=lambda _: Scripted(batches, lose_at)))
    return {row["key"]: row for row in table(output_dir)}, batches


EVERY_STEP = ["more_tokens", "sampled", "other_prompt"]


def test_each_defect_is_cured_by_the_step_that_cures_it_and_clean_rows_never_change(tmp_path: Path) -> None:
    before, _ = scripted(tmp_path / "before", [])
    after, batches = scripted(tmp_path / "after", EVERY_STEP)
    clean = [key for key, row in before.items() if not row["flags"]]
    assert clean == ["k0", "k1", "k2", "k4", "k6", "k9"]
    for key in clean:
        assert {**after[key]} == {**before[key]}
    assert after["k5"]["repairs"] == ["first: cut_off", "more_tokens: clean"]
    assert after["k5"][RECAPTION_COLUMN] == "Picture k5 in 256 tokens." and after["k5"]["first_caption"] == CUT
    assert after["k3"]["repairs"] == ["first: cut_off, repetition_loop", "sampled: clean"]
    assert after["k7"]["repairs"] == ["first: refusal", "sampled: refusal", "other_prompt: clean"]
    assert [after[key]["attempts"] for key in ("k0", "k3", "k5", "k7", "k8")] == [1, 2, 2, 3, 3]
    # Three batches of the unit; then, side by side, those of one step in their places.
    assert batches[:3] == [["k0", "k1", "k2", "k3"], ["k4", "k5", "k6", "k7"], ["k8", "k9"]]
    assert sorted(batches[3:5]) == [["k3", "k7", "k8"], ["k5"]] and batches[5:] == [["k7", "k8"]]


def test_a_caption_that_nothing_cures_stays_the_first_with_its_flag(tmp_path: Path) -> None:
    rows, _ = scripted(tmp_path, EVERY_STEP)
    row = rows["k8"]
    assert row["flags"] == ["repetition_loop"] and row["first_caption"] is None
    assert row["repairs"] == [f"{step}: repetition_loop" for step in ("first", "sampled", "other_prompt")]
    assert row["clean_caption"] == "A cup on a table"


@pytest.mark.parametrize("lose_at", [4, 5, 6])
def test_a_captioner_lost_over_rows_asked_again_changes_none_of_them(tmp_path: Path, lose_at: int) -> None:
    undisturbed, _ = scripted(tmp_path / "undisturbed", EVERY_STEP)
    disturbed, batches = scripted(tmp_path / "disturbed", EVERY_STEP, lose_at=lose_at)
    assert len(batches) > 6
    for key, row in undisturbed.items():
        assert {**disturbed[key], "attempts": 0} == {**row, "attempts": 0}


def test_only_the_named_defects_are_asked_again(tmp_path: Path) -> None:
    rows, batches = scripted(tmp_path, EVERY_STEP, flags=["refusal"])
    assert batches[3:] == [["k7"], ["k7"]] and rows["k5"]["flags"] == ["cut_off"]
    assert rows["k5"]["clean_caption"] == "A cup stands on a table beside a plate and a"


def test_where_most_rows_are_defective_the_first_are_asked_again(tmp_path: Path) -> None:
    config = begin(dataclasses.replace(settings(tmp_path), repair=RepairConfig(steps=["sampled"], share_max=0.5)))
    rows = tuple(InputRow(key=f"k{index}3", image=png(index)) for index in range(20))
    list(caption_units(config, [ListUnit(name="00000", content=rows)], open_captioner=lambda _: Scripted([])))
    assert [row["attempts"] for row in table(tmp_path)] == [2] * 10 + [1] * 10


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"steps": ["sampled", "sampled"]}, "repair.steps: a step comes twice"),
        ({"flags": ["boilerplate_opening"]}, "repair.flags: no defect"),
        ({"share_max": 1.5}, "repair.share_max"),
        ({"temperature": 0.0}, "repair.temperature"),
        ({"prompt": "@poem"}, "repair.prompt: unknown prompt"),
    ],
)
def test_settings_that_cannot_be_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        RepairConfig(**fields)
