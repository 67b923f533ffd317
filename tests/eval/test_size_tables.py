"""Table 2 names every kind of tower that open_clip configs hold."""

import pytest

from clip_train.architecture import model_config
from clip_train.presets import MODELS, find_preset
from eval.tables.size_tables import _tower


@pytest.mark.parametrize(
    ("tower", "said"),
    [
        ({"width": 96, "layers": 2, "heads": 3}, "96/2/3"),
        ({"width": 128, "layers": 4, "head_width": 32}, "128/4/4"),
        ({"width": 8, "layers": [1, 1, 1, 1], "head_width": 64}, "ResNet 8/1-1-1-1"),
        ({"timm_model_name": "test_resnet", "timm_pool": "avg"}, "timm test_resnet"),
    ],
)
def test_towers_are_named(tower: dict, said: str) -> None:
    assert _tower(tower) == said


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_preset_can_be_shown(name: str) -> None:
    config = model_config(find_preset(name), image_size_px=64, vocab_size=600, context_length=40)
    assert _tower(config["vision_cfg"]) and _tower(config["text_cfg"])
