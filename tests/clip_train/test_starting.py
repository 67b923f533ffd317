"""Beginning with other weights: published directories, trainers' checkpoints, other sizes."""

import json
from pathlib import Path

import open_clip
import pytest
import torch
from open_clip.model import CLIP
from safetensors.torch import save_file

from clip_train.architecture import build_model, model_config
from clip_train.model import load_encoder
from clip_train.presets import find_model
from clip_train.starting import read_weights, start_from
from clip_train.text import train_tokenizer
from runtime.errors import UserError
from tests.clip_train.test_model_files import build, small

FILES = ["open_clip_model.safetensors", "open_clip_pytorch_model.bin", "epoch_3.pt"]


def published(file: Path, model: CLIP, folder: Path) -> Path:
    """Write a directory as the released Recap-CLIP's: its own config names neither block types nor activations."""
    preset = find_model(str(file))
    train_tokenizer(folder, preset, ["a red house", "a blue boat"], 400)
    config = json.loads(json.dumps(model_config(preset, image_size_px=32, vocab_size=500, context_length=12)))
    for tower in ("vision_cfg", "text_cfg"):
        del config[tower]["block_type"]
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": config, "preprocess_cfg": dict(preset.preprocess_cfg)})
    )
    save_file(model.state_dict(), folder / FILES[0])
    return folder


def test_a_directory_in_the_released_format_loads_with_the_features_of_open_clip(tmp_path: Path) -> None:
    model = build(small("Recap-CLIP-L-16-HTxt", tmp_path))
    folder = published(tmp_path / "Recap-CLIP-L-16-HTxt.json", model, tmp_path / "released")
    theirs = open_clip.create_model(f"local-dir:{folder}").eval()
    texts = ["a red boat", "a house"]
    ids = open_clip.get_tokenizer(f"local-dir:{folder}")(texts)
    assert ids.shape == (2, 12) and not (ids == 3).any()
    encoder = load_encoder(folder)
    with torch.no_grad():
        expected = theirs.encode_text(ids, normalize=True)
        # Their blocks are nn.MultiheadAttention, ours plain products: sums in another order, in float32.
        torch.testing.assert_close(encoder.encode_texts(texts), expected, rtol=0, atol=1e-6)
        torch.testing.assert_close(model.encode_text(ids, normalize=True), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", FILES)
def test_weights_are_read_as_open_clip_and_its_trainer_write_them(tmp_path: Path, name: str) -> None:
    model = build(small("Recap-CLIP-B-16", tmp_path))
    folder = tmp_path / "weights"
    folder.mkdir()
    state = model.state_dict()
    if name.endswith("safetensors"):
        save_file(state, folder / name)
    elif name.endswith("bin"):
        torch.save(state, folder / name)
    else:
        torch.save({"epoch": 3, "state_dict": {f"module.{key}": value for key, value in state.items()}}, folder / name)
    other = build_model(
        model_config(
            find_model(str(tmp_path / "Recap-CLIP-B-16.json")), image_size_px=32, vocab_size=9, context_length=12
        ),
        seed=1,
        narrow=False,
    )
    start_from(other, folder / name if name.endswith("pt") else folder)
    assert all(torch.equal(value, state[key]) for key, value in other.state_dict().items())


def test_text_positions_keep_their_places(tmp_path: Path) -> None:
    file = small("Recap-CLIP-B-16", tmp_path)
    short, long = build(file, context_length=8), build(file, context_length=12)
    initial = long.positional_embedding[8:].clone()
    save_file(short.state_dict(), tmp_path / "short.safetensors")
    start_from(long, tmp_path / "short.safetensors")
    assert torch.equal(long.positional_embedding[:8], short.positional_embedding)
    assert torch.equal(long.positional_embedding[8:], initial)
    save_file(long.state_dict(), tmp_path / "long.safetensors")
    start_from(short, tmp_path / "long.safetensors")
    assert torch.equal(short.positional_embedding, long.positional_embedding[:8])


def test_fixed_image_positions_are_the_new_grids_own(tmp_path: Path) -> None:
    file = small("Recap-CLIP-B-16", tmp_path)
    coarse, fine = build(file, image_size_px=32), build(file, image_size_px=64)
    expected = fine.visual.positional_embedding.clone()
    save_file(coarse.state_dict(), tmp_path / "coarse.safetensors")
    start_from(fine, tmp_path / "coarse.safetensors")
    assert torch.equal(fine.visual.positional_embedding, expected)
    assert torch.equal(fine.visual.proj, coarse.visual.proj)


def test_learned_image_positions_are_interpolated_as_open_clip_does(tmp_path: Path) -> None:
    coarse, fine = (
        build_model(
            model_config(find_model("foundation"), image_size_px=size_px, vocab_size=40, context_length=9), seed=0
        )
        for size_px in (32, 64)
    )
    state = dict(coarse.state_dict())
    open_clip.model.resize_pos_embed(state, fine)
    save_file(coarse.state_dict(), tmp_path / "coarse.safetensors")
    start_from(fine, tmp_path / "coarse.safetensors")
    assert fine.visual.positional_embedding.shape == (17, 128)
    assert torch.equal(fine.visual.positional_embedding, state["visual.positional_embedding"])


def test_text_towers_kept_apart_are_read(tmp_path: Path) -> None:
    apart = {"text.token_embedding.weight": torch.zeros(2, 2), "visual.proj": torch.zeros(2, 2)}
    torch.save(apart, tmp_path / "weights.pt")
    assert sorted(read_weights(tmp_path / "weights.pt")) == ["token_embedding.weight", "visual.proj"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("missing", r"no weight 'logit_scale' to start from: wanted \[\]"),
        ("shape", r"weight 'visual.proj' has another shape: found \[2\], wanted \[32, 16\]"),
        ("more", r"the model has no weight 'logit_bias': found \[\]"),
        ("damaged", r"weights can't be read"),
        (
            "none",
            r"start_from: no weights to start from: found .*nowhere, wanted a file, or a folder with one of open_c",
        ),
    ],
)
def test_weights_that_do_not_fit_are_named(tmp_path: Path, damage: str, message: str) -> None:
    model = build(small("Recap-CLIP-B-16", tmp_path))
    state = dict(model.state_dict())
    if damage == "missing":
        del state["logit_scale"]
    elif damage == "shape":
        state["visual.proj"] = torch.zeros(2)
    elif damage == "more":
        state["logit_bias"] = torch.zeros(())
    save_file(state, tmp_path / "weights.safetensors")
    if damage == "damaged":
        (tmp_path / "weights.safetensors").write_bytes(b"none")
    with pytest.raises(UserError, match=message):
        start_from(model, tmp_path / ("nowhere" if damage == "none" else "weights.safetensors"))
