"""Vision towers: CLIP or SigLIP, whole or alone, and the same features as transformers'."""

from pathlib import Path

import pytest
import torch
from transformers import CLIPModel, CLIPVisionModel, LlavaForConditionalGeneration, SiglipModel, SiglipVisionModel

from llava_train import phases
from llava_train.model import load_captioner
from llava_train.network import image_features
from llava_train.towers import has_class_token, load_tower, tower_weights
from runtime.errors import UserError
from tests.llava_train import published, tiny


@pytest.fixture(scope="module")
def siglip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published.write_siglip(tmp_path_factory.mktemp("siglip"))


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_whole_model_and_vision_half_give_one_tower(root: Path, siglip: Path, tmp_path: Path, kind: str) -> None:
    folder, whole, half = {
        "clip": (root / "clip", CLIPModel, CLIPVisionModel),
        "siglip": (siglip, SiglipModel, SiglipVisionModel),
    }[kind]
    alone = half.from_pretrained(folder)
    alone.save_pretrained(tmp_path)
    towers = [load_tower(place, max_length_tokens=64) for place in (folder, tmp_path)]
    weights = [tower_weights(tower) for tower in towers]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not any(name.startswith("head.") for name in weights[0])
    assert has_class_token(towers[0]) == (kind == "clip")
    assert len(weights[0]) <= len(whole.from_pretrained(folder).vision_model.state_dict())


def test_siglip_captioner_sees_what_transformers_sees(root: Path, siglip: Path, tmp_path: Path) -> None:
    config = tiny.config(root, tmp_path / "run", num_updates=1)
    export = phases.fine_tune(phases.replace(config, vision_tower=siglip, phases=["detail"]))
    captioner = load_captioner(export, device="cpu", precision=torch.float32)
    pixels = torch.randn(3, 3, tiny.IMAGE_SIZE_PX, tiny.IMAGE_SIZE_PX)
    llava = LlavaForConditionalGeneration.from_pretrained(export).eval()
    theirs = torch.stack(list(llava.get_image_features(pixels).pooler_output))
    torch.testing.assert_close(image_features(captioner.llava, pixels), theirs)
    assert theirs.shape[1] == tiny.NUM_IMAGE_TOKENS
    assert captioner.llava.config.vision_feature_select_strategy == "full"
    assert captioner.geometry.mean == (0.5, 0.5, 0.5)


def test_other_models_are_refused_by_type(tmp_path: Path) -> None:
    published.write_llama(tmp_path)
    with pytest.raises(UserError, match=r"found llama, wanted clip or clip_vision_model or siglip or siglip_vision"):
        load_tower(tmp_path, max_length_tokens=64)
