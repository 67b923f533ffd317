"""The presets of real size say what the paper and LLaVA-1.5 say, and their commands parse."""

from pathlib import Path

import pytest

from llava_train.config import FineTuneConfig, LoraConfig
from runtime.config import load, parse
from tests.llava_train.test_presets import command_of

CONFIGS = Path(__file__).parents[2] / "configs" / "llava"


@pytest.mark.parametrize("preset", ["small", "paper"])
def test_the_recipe_is_llavas(preset: str) -> None:
    config = load(FineTuneConfig, CONFIGS / f"{preset}.yaml")
    align, instruct, detail = config.align, config.instruct, config.detail
    assert config.phases == ["align", "instruct", "detail"]
    # One epoch of 558,128 pairs and one of 665,298 conversations.
    assert align.loop.num_updates == -(-558_128 // 256) and instruct.loop.num_updates == -(-665_298 // 128)
    assert (align.loop.batch_size, instruct.loop.batch_size) == (256, 128)
    assert (align.loop.learning_rate, instruct.loop.learning_rate) == (1e-3, 2e-4)
    assert instruct.projector_learning_rate_multiplier * instruct.loop.learning_rate == pytest.approx(2e-5)
    assert instruct.lora == LoraConfig(rank=128, alpha=256, dropout=0.05)
    assert align.trainable == ["projector"] and align.rendering == "plain"
    for phase in (align, instruct, detail):
        assert "vision_tower" not in phase.trainable
        assert phase.loop.schedule == "cosine" and phase.loop.weight_decay == 0 and phase.loop.precision == "bf16"
        assert phase.loop.warmup_updates == -(-3 * phase.loop.num_updates // 100)
    assert config.longest_sequence_tokens == 2048 and config.pad_images
    assert config.num_workers == 4, "pictures are decoded beside the training"
    # Both pictures of 200,000 edits, once.
    assert detail.loop.num_updates * detail.loop.batch_size == 400_000


def test_presets_of_real_size_differ_in_the_machine_alone() -> None:
    small, paper = (load(FineTuneConfig, CONFIGS / f"{name}.yaml") for name in ("small", "paper"))
    for name in ("align", "instruct", "detail"):
        ours, theirs = small.phase(name), paper.phase(name)
        assert ours.loop.sharding == "none" and theirs.loop.sharding == "zero2"
        assert ours.loop.num_updates == theirs.loop.num_updates and ours.conversations == theirs.conversations


@pytest.mark.parametrize("preset", ["small", "paper"])
def test_the_command_of_the_header_parses(preset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CONFIGS.parents[1])
    words = command_of(CONFIGS / f"{preset}.yaml")
    start = words.index("llava_train")
    assert words[start - 1] == "-m"
    config = parse(FineTuneConfig, words[start + 1 :], prog="llava_train", description="")
    assert config.output_dir == Path(f"runs/{preset}/captioner/main")
