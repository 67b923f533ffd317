"""GenEval's prompts, as its `evaluation_metadata.jsonl` has them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.errors import UserError
from runtime.json_files import parse_object

TASKS = ("single_object", "two_object", "counting", "colors", "position", "color_attr")
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white")
POSITIONS = ("left of", "right of", "above", "below")
PUBLISHED_COUNTS = {
    "single_object": 80, "two_object": 99, "counting": 80, "colors": 94, "position": 100, "color_attr": 100,
}  # fmt: skip
"""Prompts of each task in the published file, 553 in all."""


@dataclass(frozen=True, kw_only=True)
class Demand:
    """Things of one class that a picture must show, or of which it must show fewer."""

    thing: str
    count: int
    colour: str | None = None
    position: tuple[str, int] | None = None
    """How they lie to the things of an earlier demand, and its place in the list."""


@dataclass(frozen=True, kw_only=True)
class GenEvalPrompt:
    """One prompt and what its pictures must show."""

    index: int
    """Place in the file; names the folder of its pictures."""
    task: str
    text: str
    include: tuple[Demand, ...]
    exclude: tuple[Demand, ...]
    record: Mapping[str, Any]
    """The line as published, which goes into `metadata.jsonl`."""


def read_prompts(path: Path) -> list[GenEvalPrompt]:
    """Read all prompts; raises UserError naming the line and what is wrong with it."""
    if not path.is_file():
        fix = "Take prompts/evaluation_metadata.jsonl from GenEval's repository"
        raise UserError("no prompts of GenEval here", where=path, found="no such file", fix=fix)
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not lines:
        raise UserError("no prompts in the file", where=path, found="no line", wanted="a JSON object a line")
    return [parse_prompt(line, index, f"{path}:{index + 1}") for index, line in enumerate(lines)]


def parse_prompt(line: str, index: int, where: str) -> GenEvalPrompt:
    """Read one prompt; raises UserError naming `where`."""
    record = parse_object(line, where, "tag", "prompt", "include")
    if record["tag"] not in TASKS:
        raise UserError("unknown task", where=where, found=record["tag"], wanted=" | ".join(TASKS))
    include = _demands(record["include"], f"{where}: include")
    for place, demand in enumerate(include):
        if demand.position is not None and not 0 <= demand.position[1] < place:
            raise UserError("a position refers to no earlier demand", where=where, found=demand.position[1])
    return GenEvalPrompt(
        index=index,
        task=record["tag"],
        text=str(record["prompt"]),
        include=include,
        exclude=_demands(record.get("exclude", []), f"{where}: exclude"),
        record=record,
    )


def _demands(records: Any, where: str) -> tuple[Demand, ...]:
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise UserError("not a list of demands", where=where, found=records, wanted="objects with class and count")
    return tuple(_demand(record, where) for record in records)


def _demand(record: Mapping[str, Any], where: str) -> Demand:
    thing, count, colour, position = (record.get(key) for key in ("class", "count", "color", "position"))
    if not isinstance(thing, str) or not isinstance(count, int) or count < 1:
        raise UserError("not a demand", where=where, found=dict(record), wanted="a class, and a count of at least 1")
    if colour is not None and colour not in COLOURS:
        raise UserError("unknown colour", where=where, found=colour, wanted=" | ".join(COLOURS))
    if position is None:
        return Demand(thing=thing, count=count, colour=colour)
    match position:
        case [str() as relation, int() as target] if relation in POSITIONS:
            return Demand(thing=thing, count=count, colour=colour, position=(relation, target))
    wanted = f"[one of {', '.join(POSITIONS)}; the place of an earlier demand]"
    raise UserError("not a position", where=where, found=position, wanted=wanted)
