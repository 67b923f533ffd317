"""The page about captions' quality: its commands are read as it says, its flags and steps are the code's."""

import re
import shlex
from pathlib import Path
from typing import get_args

import pytest

from imagetext.caption_flags.names import DEFECTS, FLAGS
from imagetext.sidecars import SIDECAR_SCHEMA
from recaption.__main__ import CONFIGS, spell_out
from recaption.quality.config import StepName
from runtime.config import parse

PAGE = Path(__file__).parents[3] / "docs" / "recaption.md"
START = "python -m recaption "


def shown() -> list[list[str]]:
    lines = PAGE.read_text().replace("\\\n", " ").splitlines()
    return [shlex.split(line.removeprefix(START)) for line in lines if line.startswith(START)]


@pytest.mark.parametrize("argv", shown(), ids=lambda argv: argv[0])
def test_commands_are_spelled_as_they_are_read(argv: list[str]) -> None:
    verb, *rest = argv
    assert isinstance(parse(CONFIGS[verb], spell_out(verb, rest), prog="recaption", description=""), CONFIGS[verb])


def test_flags_and_steps_are_the_codes() -> None:
    text = PAGE.read_text()
    told = dict(re.findall(r"^\| `(\w+)` \| (defect|note) \|", text, re.MULTILINE))
    assert told == {name: "defect" if name in DEFECTS else "note" for name in FLAGS}
    section = text.split("### Asking again")[1]
    assert re.findall(r"^\| `(\w+)`", section, re.MULTILINE) == list(get_args(StepName))


def test_columns_are_the_sidecars() -> None:
    table = PAGE.read_text().split("### Flags")[0]
    assert set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) <= set(SIDECAR_SCHEMA.names)
