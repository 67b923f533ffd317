"""The presets of captioner and recaptioning load, and the command in each header is one that parses."""

import shlex
from pathlib import Path

import pytest

from llava_train.config import FineTuneConfig
from recaption.config import RecaptionConfig
from runtime.config import load, parse

CONFIGS = Path(__file__).parents[2] / "configs"
PRESETS = ("quick", "mini", "mini_full")


def command_of(path: Path) -> list[str]:
    lines = [line.removeprefix("#").strip() for line in path.read_text().splitlines() if line.startswith("#")]
    command = lines[0]
    for line in lines[1:]:
        if not command.endswith("\\"):
            break
        command = f"{command[:-1]} {line}"
    return shlex.split(command)


@pytest.mark.parametrize("preset", PRESETS)
def test_captioner_preset_and_its_command(preset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CONFIGS.parent)
    words = command_of(CONFIGS / "llava" / f"{preset}.yaml")
    assert words[:3] == ["python", "-m", "llava_train"]
    config = parse(FineTuneConfig, words[3:], prog="llava_train", description="")
    assert config.output_dir == Path(f"runs/{preset}/captioner/main")
    # All presets train one model, so that their captioners differ in budget alone.
    mini = load(
        FineTuneConfig, CONFIGS / "llava" / "mini.yaml", overrides=["--output_dir=x", "--data=d", "--vision_tower=v"]
    )
    assert config.language_model == mini.language_model
    assert config.phases == ["language", "align", "instruct", "detail"]


@pytest.mark.parametrize("preset", PRESETS)
def test_recaption_preset_and_its_command(preset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CONFIGS.parent)
    words = command_of(CONFIGS / "recaption" / f"{preset}.yaml")
    assert words[:4] == ["python", "-m", "recaption", "run"]
    config = parse(RecaptionConfig, words[4:], prog="recaption run", description="")
    assert config.max_new_tokens == 128
    assert config.prompt == "Please generate a detailed caption of this image. Please be as descriptive as possible."
