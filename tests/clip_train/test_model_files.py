"""The paper's models: their sizes, their conventions, and what a file may say wrong."""

import json
from pathlib import Path

import pytest
import torch
from open_clip.model import CLIP

from clip_train.architecture import build_model, model_config
from clip_train.model_files import model_names, read_model_file
from clip_train.presets import find_model
from clip_train.text_tower import config_sees_padding, encode_text, sees_padding
from runtime.errors import UserError

TABLE_2 = {
    "Recap-CLIP-S-16": (22, 33, 55),
    "Recap-CLIP-B-16": (86, 53, 141),
    "Recap-CLIP-L-16": (303, 109, 414),
    "Recap-CLIP-H-14": (631, 334, 967),
}
"""Millions of parameters: vision, text, in all (arXiv 2406.08478, Table 2, whose parts do not add up)."""
VARIANTS = ("", "-tanh", "-masked")


def on_meta(name: str) -> CLIP:
    model = read_model_file(name)
    assert model is not None
    with torch.device("meta"):
        return CLIP(**model.config)


def millions(model: CLIP) -> tuple[float, float, float]:
    """Count what trains: fixed image positions are none of the paper's parameters."""
    vision = sum(weight.numel() for weight in model.visual.parameters() if weight.requires_grad)
    total = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    return vision / 1e6, (total - vision) / 1e6, total / 1e6


@pytest.mark.parametrize(("name", "expected"), TABLE_2.items())
def test_sizes_are_those_of_table_two(name: str, expected: tuple[int, int, int]) -> None:
    vision, text, total = millions(on_meta(name))
    assert vision == pytest.approx(expected[0], rel=0.03)
    assert text == pytest.approx(expected[1], rel=0.03)
    assert total == pytest.approx(expected[2], rel=0.01)


@pytest.mark.parametrize(("name", "larger"), [("S-16-BTxt", "B-16"), ("B-16-LTxt", "L-16"), ("L-16-HTxt", "H-14")])
def test_larger_text_towers_are_the_next_rows(name: str, larger: str) -> None:
    enlarged, plain, following = (on_meta(f"Recap-CLIP-{one}") for one in (name, name[:4], larger))
    assert millions(enlarged)[0] == millions(plain)[0]
    sizes = [sum(w.numel() for w in model.transformer.parameters()) for model in (enlarged, following)]
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize("name", [name for name in model_names() if not name.endswith(VARIANTS[1:])])
def test_each_model_comes_as_released_as_trained_and_masked(name: str) -> None:
    released, trained, masked = (read_model_file(name + variant).config for variant in VARIANTS)  # type: ignore[union-attr]
    vision, text = released["vision_cfg"], released["text_cfg"]
    assert (vision["pool_type"], vision["pos_embed_type"]) == ("avg", "sin_cos_2d")
    assert vision["no_ln_pre"] and vision["final_ln_after_pool"]
    assert (text["context_length"], text["vocab_size"], text["pool_type"]) == (128, 32000, "last")
    assert text["no_causal_mask"] and text["tokenizer_kwargs"] == {"strip_sep_token": True}
    as_trained = {"act_kwargs": {"approximate": "tanh"}, "norm_kwargs": {"eps": 1e-6}}
    assert trained == {**released, "vision_cfg": {**vision, **as_trained}, "text_cfg": {**text, **as_trained}}
    assert masked["vision_cfg"] == vision
    assert {key for key in {**text, **masked["text_cfg"]} if text.get(key) != masked["text_cfg"].get(key)} == {
        "pool_type", "eos_id", "no_causal_mask", "tokenizer_kwargs",
    }  # fmt: skip


def small(name: str, folder: Path) -> Path:
    """Write a paper model's config with its towers cut to one narrow layer; return the file."""
    config = json.loads(json.dumps(read_model_file(name).config))  # type: ignore[union-attr]
    config["embed_dim"] = 16
    config["vision_cfg"] |= {"layers": 1, "width": 32, "head_width": 16, "patch_size": 16}
    config["text_cfg"] |= {"layers": 2, "width": 32, "heads": 2, "vocab_size": 600}
    file = folder / f"{name}.json"
    file.write_text(json.dumps(config))
    return file


def build(file: Path, **changes: int) -> CLIP:
    sizes = {"image_size_px": 32, "vocab_size": 500, "context_length": 12, "end_id": 3, **changes}
    return build_model(model_config(find_model(str(file)), **sizes), seed=0, narrow=False).eval()


def test_padding_changes_a_released_models_features_and_not_a_masked_ones(tmp_path: Path) -> None:
    ids = torch.tensor([[2, 7, 8, 3, 0, 0, 0, 0, 0, 0, 0, 0]])
    other = ids.clone()
    other[0, 6:] = 5
    lengths = torch.tensor([4])
    released, masked = (build(small(f"Recap-CLIP-B-16{variant}", tmp_path)) for variant in ("", "-masked"))
    assert sees_padding(released) and not sees_padding(masked)
    configs = (read_model_file(f"Recap-CLIP-B-16{variant}").config["text_cfg"] for variant in ("", "-masked"))  # type: ignore[union-attr]
    assert [config_sees_padding(config) for config in configs] == [True, False]
    with torch.no_grad():
        assert not torch.allclose(encode_text(released, ids, lengths), encode_text(released, other, lengths))
        torch.testing.assert_close(encode_text(released, ids, lengths), released.encode_text(ids), rtol=0, atol=0)
        torch.testing.assert_close(encode_text(masked, ids, lengths), masked.encode_text(other), rtol=1e-5, atol=1e-5)


def test_activations_differ_between_released_and_trained(tmp_path: Path) -> None:
    released, trained = (build(small(f"Recap-CLIP-B-16{variant}", tmp_path)) for variant in ("", "-tanh"))
    trained.load_state_dict(released.state_dict())
    image = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert not torch.equal(released.encode_image(image), trained.encode_image(image))
    assert trained.visual.ln_post.eps == 1e-6 and released.visual.ln_post.eps == 1e-5
    assert trained.transformer.resblocks[0].mlp.gelu.approximate == "tanh"


def test_preprocessing_is_squashed_and_bilinear() -> None:
    preprocess = find_model("Recap-CLIP-L-16-HTxt").preprocess_cfg
    assert (preprocess["resize_mode"], preprocess["interpolation"]) == ("squash", "bilinear")
    assert preprocess["mean"] == [0.485, 0.456, 0.406]


def test_tokenizer_with_more_words_than_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"more words than the model: found 601, wanted at most 600, the rows of Recap"):
        build(small("Recap-CLIP-B-16", tmp_path), vocab_size=601)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.json", None, r"model: no such model file: found .*none.json, wanted an open_clip model config"),
        ("part.json", '{"embed_dim": 4, "vision_cfg": {}}', r"not an open_clip model config: found no text_cfg"),
    ],
)
def test_files_without_a_model_are_refused(tmp_path: Path, name: str, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message):
        find_model(str(tmp_path / name))
