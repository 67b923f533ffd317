from pathlib import Path

import pytest

from dit_train.config import DitTrainConfig
from runtime.config import load, to_yaml

FOLDER = Path(__file__).parents[2] / "configs" / "dit"
GIVEN = ("--output_dir=R", "--data.shards=D/web", "--data.sidecars.recaption=S", "--text_encoder=F")


@pytest.mark.parametrize("preset", ["quick", "mini", "mini_full"])
@pytest.mark.parametrize("model", ["b", "l"])
def test_presets_load_and_round_trip(preset: str, model: str, tmp_path: Path) -> None:
    config = load(
        DitTrainConfig, FOLDER / f"{preset}.yaml", overrides=[*GIVEN, f"--model={model}", "--mix.original_share=0.1"]
    )
    assert config.mix.original_share == 0.1
    (tmp_path / "again.yaml").write_text(to_yaml(config))
    assert load(DitTrainConfig, tmp_path / "again.yaml") == config


def test_presets_learn_the_same_way() -> None:
    """Presets differ in length alone, so that the quick one is a preview of the others."""
    quick, mini, full = (
        load(DitTrainConfig, FOLDER / f"{name}.yaml", overrides=GIVEN) for name in ("quick", "mini", "mini_full")
    )
    for field in (
        "noise",
        "head_layers",
        "text_window_tokens",
        "text_summary",
        "zero_init_text_out",
        "text_starts_averaged",
        "text_embeddings",
        "predicts_image",
        "image_size_px",
    ):
        assert getattr(quick, field) == getattr(mini, field) == getattr(full, field)
    assert quick.loop.num_updates < mini.loop.num_updates <= full.loop.num_updates
