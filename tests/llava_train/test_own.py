"""The preset for one's own conversations runs on what its header asks for and nothing else."""

import shutil
from pathlib import Path

import pytest

from llava_train.config import PHASES, FineTuneConfig
from llava_train.model import load_captioner
from llava_train.phases import fine_tune
from runtime.config import parse
from tests.llava_train import tiny
from tests.llava_train.test_presets import CONFIGS, command_of

TINY = {
    "language_model.width": 32,
    "language_model.head_width": 16,
    "language_model.mlp_width": 48,
    "language_model.vocab_size": 320,
    "align.loop.num_updates": 2,
    "align.loop.warmup_updates": 1,
    "align.loop.batch_size": 4,
    "detail.loop.num_updates": 2,
    "detail.loop.warmup_updates": 1,
    "detail.loop.batch_size": 4,
}


@pytest.fixture
def own(root: Path, tmp_path: Path) -> Path:
    """A folder holding one file of conversations and its pictures."""
    folder = tmp_path / "own"
    shutil.copytree(root / "data" / "images", folder / "images")
    shutil.copyfile(root / "data" / "detail.json", folder / "conversations.json")
    return folder


def test_own_preset_trains_on_one_file_of_conversations(root: Path, own: Path, tmp_path: Path) -> None:
    words = [f"--{name}={value}" for name, value in TINY.items()]
    words += [f"--output_dir={tmp_path / 'run'}", f"--data={own}", f"--vision_tower={root / 'clip'}"]
    words += ["--align.loop.device=cpu", "--detail.loop.device=cpu"]
    config = parse(
        FineTuneConfig, ["--config", str(CONFIGS / "llava" / "own.yaml"), *words], prog="llava_train", description=""
    )
    assert load_captioner(fine_tune(config), device="cpu").geometry.pad
    trained = sorted(path.name for path in (config.output_dir / "phases").iterdir())
    assert trained == ["align", "detail"]


def test_command_of_own_preset_parses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CONFIGS.parent)
    words = command_of(CONFIGS / "llava" / "own.yaml")
    assert words[:3] == ["python", "-m", "llava_train"]
    config = parse(FineTuneConfig, words[3:], prog="llava_train", description="")
    assert config.phases == ["align", "detail"]
    assert not [name for name in PHASES if "vision_tower" in config.phase(name).trainable], "a trained CLIP stays"
    assert config.align.short_first is None and config.detail.short_first is None
    assert tiny.NUM_IMAGE_TOKENS < 576 < config.language_model.max_length_tokens
