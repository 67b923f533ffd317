"""The page about captioners: its commands are read as it says, its numbers are the code's."""

import shlex
from pathlib import Path

import pytest

from imagetext.caption_flags.names import ALT_TEXT_COPIED, CONDITION_DROPPED, PROMPT_ECHO
from recaption.config import RecaptionConfig
from recaption.named_prompts import NAMED_PROMPTS
from recaption.prompts import job_prompts
from runtime.config import parse

PAGE = Path(__file__).parents[3] / "docs" / "captioners.md"
START = "python -m recaption run "


def shown() -> list[list[str]]:
    lines = PAGE.read_text().replace("\\\n", " ").splitlines()
    return [shlex.split(line.removeprefix(START)) for line in lines if line.startswith(START)]


@pytest.mark.parametrize("argv", shown())
def test_commands_are_spelled_as_they_are_read(argv: list[str]) -> None:
    config = parse(RecaptionConfig, argv, prog="recaption", description="")
    assert config.captioner in ("transformers", "vllm", "openai")


def test_the_columns_of_several_prompts_are_those_named() -> None:
    several = [
        config for argv in shown() if (config := parse(RecaptionConfig, argv, prog="", description="")).more_prompts
    ]
    (config,) = several
    assert list(job_prompts(config)) == ["re_caption", "re_caption_short", "re_caption_known"]
    assert (
        len(
            {config.captioner for config in (parse(RecaptionConfig, argv, prog="", description="") for argv in shown())}
        )
        == 3
    )


def test_names_and_settings_are_the_codes() -> None:
    text = PAGE.read_text()
    for name in [*(f"@{name}" for name in NAMED_PROMPTS), ALT_TEXT_COPIED, PROMPT_ECHO, CONDITION_DROPPED]:
        assert f"`{name}`" in text, name
    sampled = NAMED_PROMPTS["conditioned"].decoding
    assert f"temperature {sampled.temperature}, top {sampled.top_k}" in text
