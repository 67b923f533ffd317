"""Rows whose captions repeat their own alt-text are asked once more without it, and lose nothing over that."""

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from imagetext.sidecars import RECAPTION_COLUMN
from recaption.captioners.base import Answered, Caption, Failed, Item, Request, Result
from recaption.config import RecaptionConfig
from recaption.executors.local import caption_units
from recaption.inputs.units import InputRow
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
