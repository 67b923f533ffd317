"""What GenEval's `evaluate_images.py` wrote: a line a picture, with what was found in it and whether that is right."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.geneval.prompts import GenEvalPrompt
from eval.geneval.rules import Found, shows_all
from runtime.errors import UserError
from runtime.json_files import parse_object

_COLOUR_FAILURE = re.compile(r"^expected \w+ .+>=\d+, found \d+ \w+; and ", re.MULTILINE)
"""How a picture is told whose things have other colours than asked for."""
_PLACE = re.compile(r"(?:^|/)(\d+)/samples/(\d+)\.png$")


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One picture as GenEval judged it."""

    prompt: int
    """Place of its prompt among the prompts."""
    picture: int
    """Number of the picture among those of its prompt."""
    is_right: bool
    colours_hold: bool
    found: Found


def read_judged(path: Path, prompts: Sequence[GenEvalPrompt], pictures_per_prompt: int) -> list[Judged]:
    """Read the judgement of every picture, ordered by prompt and picture.

    Raises UserError naming the first line, prompt or picture where the file is damaged, belongs to other prompts, or
    lacks a picture: what is missing would leave the mean without a word.
    """
    if not path.is_file():
        raise UserError("no results of GenEval here", where=path, found="no such file")
    judged: dict[tuple[int, int], Judged] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        one = _judged(line, prompts, f"{path}:{number}")
        if (one.prompt, one.picture) in judged:
            raise UserError("a picture twice", where=f"{path}:{number}", found=f"{one.prompt:05}/{one.picture:04}.png")
        judged[one.prompt, one.picture] = one
    wanted = {(prompt.index, picture) for prompt in prompts for picture in range(pictures_per_prompt)}
    _refuse_other_pictures(path, set(judged), wanted)
    return [judged[place] for place in sorted(judged)]


def is_right_by_rules(one: Judged, prompt: GenEvalPrompt) -> bool:
    """Judge a picture anew from its boxes and what was said of its colours."""
    return shows_all(prompt, one.found, one.colours_hold)


def _judged(line: str, prompts: Sequence[GenEvalPrompt], where: str) -> Judged:
    record = parse_object(line, where, "filename", "tag", "prompt", "correct", "reason", "details")
    place = _PLACE.search(str(record["filename"]))
    if place is None:
        raise UserError(
            "not a picture's place", where=where, found=record["filename"], wanted=".../00000/samples/0000.png"
        )
    index = int(place[1])
    if index >= len(prompts):
        raise UserError("a picture of no prompt", where=where, found=index, wanted=f"below {len(prompts)}")
    if (record["prompt"], record["tag"]) != (prompts[index].text, prompts[index].task):
        fix = "Give the prompts that were drawn"
        raise UserError("another prompt", where=where, found=record["prompt"], wanted=prompts[index].text, fix=fix)
    return Judged(
        prompt=index,
        picture=int(place[2]),
        is_right=bool(record["correct"]),
        colours_hold=_COLOUR_FAILURE.search(str(record["reason"])) is None,
        found=_found(record["details"], where),
    )


def _found(details: Any, where: str) -> Found:
    found = parse_object(details if isinstance(details, str) else json.dumps(details), f"{where}: details")
    for thing, boxes in found.items():
        if not isinstance(boxes, list) or not all(_is_box(box) for box in boxes):
            raise UserError(f"not boxes of {thing!r}", where=where, found=boxes, wanted="lists of four numbers or five")
    return found


def _is_box(box: Any) -> bool:
    return isinstance(box, list) and len(box) in (4, 5) and all(isinstance(number, (int, float)) for number in box)


def _refuse_other_pictures(path: Path, found: set[tuple[int, int]], wanted: set[tuple[int, int]]) -> None:
    if found == wanted:
        return
    missing, odd = sorted(wanted - found), sorted(found - wanted)
    prompt, picture = (missing or odd)[0]
    what = f"{len(missing)} missing, {len(odd)} more than asked for, the first {prompt:05}/samples/{picture:04}.png"
    fix = "Draw and judge what is missing, or say --pictures_per_prompt as it was"
    raise UserError("not every picture was judged", where=path, found=what, wanted=f"{len(wanted)} pictures", fix=fix)
