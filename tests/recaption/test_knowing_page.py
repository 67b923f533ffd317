"""The pages on recaptioning and on what captions are worth: commands are spelled as the verbs read them."""

import re
from pathlib import Path

import pytest
import yaml

from recaption.__main__ import VERBS
from recaption.config import RecaptionConfig
from runtime.config import load
from tests.recaption.test_launch import commands, parsed

TEXT = Path("docs/recaption_knowing.md").read_text()
WALK = Path("docs/recaption.md").read_text()
SETTINGS = re.findall(r"```yaml\n(.+?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize("words", commands(TEXT) + commands(WALK), ids=lambda words: words[0])
def test_commands_of_the_pages(words: list[str]) -> None:
    assert type(parsed(words)).__name__.lower().removesuffix("config") in (words[0], "recaption")


def test_the_page_shows_every_verb_of_its_table() -> None:
    named = {
        verb for cell in re.findall(r"^\| [a-z, ]+ \| (`\w+`) \|", TEXT, re.MULTILINE) for verb in [cell.strip("`")]
    }
    assert len(named) == 7 and named <= set(VERBS)
    assert named <= {words[0] for words in commands(TEXT)}


@pytest.mark.parametrize("text", SETTINGS, ids=lambda text: yaml.safe_load(text)["model"])
def test_settings_are_those_of_a_run(text: str, tmp_path: Path) -> None:
    (tmp_path / "captioner.yaml").write_text(text)
    config = load(RecaptionConfig, tmp_path / "captioner.yaml", overrides=["--output_dir=o", "--shards=s"])
    assert config.max_new_tokens >= 128


def test_the_arithmetic_of_the_page() -> None:
    (shown,) = re.findall(r"at 50 images/s a device are ([\d,]+) device-hours", TEXT)
    assert int(shown.replace(",", "")) == round(1.3e9 / 50 / 3600)
    assert {words[0] for words in commands(TEXT)} >= {"run", "import"}
