from pathlib import Path

import pytest

from dit_train.config import DitTrainConfig
from dit_train.objective_config import ObjectiveConfig
from dit_train.plan import describe
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


@pytest.mark.parametrize(("preset", "millions"), [("small", 39), ("paper", 158)])
def test_presets_of_real_data_are_the_papers_recipe_and_can_be_planned(preset: str, millions: int) -> None:
    config = load(DitTrainConfig, FOLDER / f"{preset}.yaml")
    loop = config.loop
    assert (loop.learning_rate, loop.schedule, loop.warmup_updates, loop.weight_decay) == (1e-4, "constant", 0, 0)
    assert (loop.ema_decay, config.caption_dropout, config.image_size_px, config.flip) == (0.9999, 0.1, 256, True)
    assert config.objective == ObjectiveConfig(path="ddpm", prediction="epsilon", learned_sigma=True)
    plan = describe(config)
    assert f"| {millions}," in plan.split("## Encoding")[0].splitlines()[-3]
    # Eight of means and log-variances times 32 x 32 cells, twice, at two bytes.
    assert " 32 |" in plan.split("## Encoding")[1].splitlines()[4]


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
