"""Captioners built otherwise than LLaVA-1.5 are refused: our network would compute something else of their weights."""

import json
import shutil
from pathlib import Path

import pytest

from llava_train.model import load_captioner
from runtime.errors import UserError


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vision_feature_select_strategy": "full"}, r"vision_feature_select_strategy: found full, wanted default"),
        (
            {"vision_config": {"model_type": "siglip_vision_model"}},
            r"vision_feature_select_strategy: found default, wanted full",
        ),
        ({"vision_feature_layer": 2}, r"vision_feature_layer: found 2, wanted one layer counted from the last"),
        ({"vision_feature_layer": [-2, -3]}, r"vision_feature_layer: found \[-2, -3\], wanted one layer counted"),
        (
            {"vision_config": {"model_type": "dinov2"}},
            r"vision_config\.model_type: found dinov2, wanted clip_vision_model or siglip_vision_model",
        ),
    ],
)
def test_other_constructions_are_refused(export: Path, tmp_path: Path, change: dict, message: str) -> None:
    folder = tmp_path / "captioner"
    shutil.copytree(export, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(UserError, match=rf"config\.json: this kind of captioner can't be run: {message}"):
        load_captioner(folder, device="cpu")


def test_published_defaults_may_be_left_out(export: Path, tmp_path: Path) -> None:
    folder = tmp_path / "captioner"
    shutil.copytree(export, folder)
    config = json.loads((folder / "config.json").read_text())
    del config["vision_feature_layer"], config["vision_feature_select_strategy"]
    (folder / "config.json").write_text(json.dumps(config))
    assert load_captioner(folder, device="cpu").llava.config.vision_feature_layer == -2
