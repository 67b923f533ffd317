from pathlib import Path

import open_clip
import pytest
import torch
from open_clip.model import CLIP
from PIL import Image

from clip_train.architecture import build_model, model_config
from clip_train.export import export_model
from clip_train.model import ClipEncoder, load_encoder
from clip_train.presets import find_preset
from clip_train.text import read_tokenizer, train_tokenizer
from runtime.errors import UserError

CAPTIONS = ["a red house beside two trees", "Buy now & save 50%!", "a small blue boat on the sea", "naïve café", ""]
CONTEXT_LENGTH = 14


def exported(name: str, folder: Path) -> tuple[CLIP, Path]:
    preset = find_preset(name)
    train_tokenizer(folder / "tokenizer", preset, CAPTIONS, vocab_size=700)
    tokenizer = read_tokenizer(folder / "tokenizer", CONTEXT_LENGTH)
    config = model_config(preset, image_size_px=32, vocab_size=tokenizer.vocab_size, context_length=CONTEXT_LENGTH)
    model = build_model(config, seed=3)
    export_model(model.state_dict(), preset, config, folder / "tokenizer", folder / "export")
    return model.eval(), folder / "export"


@pytest.mark.parametrize("name", ["s_small", "foundation"])
def test_open_clip_loads_the_export_with_equal_features(name: str, tmp_path: Path) -> None:
    model, folder = exported(name, tmp_path)
    loaded, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    loaded.eval()
    image = preprocess(Image.effect_mandelbrot((50, 40), (-2, -1, 1, 1), 20).convert("RGB"))[None]
    ids = open_clip.get_tokenizer(f"local-dir:{folder}")(CAPTIONS)
    ours = read_tokenizer(tmp_path / "tokenizer", CONTEXT_LENGTH)(CAPTIONS)
    assert torch.equal(ours.ids, ids)
    with torch.no_grad():
        theirs = loaded(image, ids)
        mine = model(image, ids)
    # Convolutions are summed in another order here: the model in training keeps channels last.
    torch.testing.assert_close(theirs[0], mine["image_features"])
    assert torch.equal(theirs[1], mine["text_features"])
    assert torch.equal(theirs[2], mine["logit_scale"])


def test_transformers_loads_the_foundation_with_the_same_features(tmp_path: Path) -> None:
    from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizer

    model, folder = exported("foundation", tmp_path)
    theirs = CLIPModel.from_pretrained(folder / "hf").eval()
    tokenizer = CLIPTokenizer.from_pretrained(folder / "hf")
    processor = CLIPImageProcessor.from_pretrained(folder / "hf")
    image = Image.effect_mandelbrot((70, 40), (-2, -1, 1, 1), 20).convert("RGB")
    _, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    pixels = processor(images=image, return_tensors="pt").pixel_values
    # Bicubic resizing differs by a byte's rounding between the two libraries' image back ends.
    torch.testing.assert_close(pixels[0], preprocess(image), atol=0.05, rtol=0)
    tokens = tokenizer(CAPTIONS, padding="max_length", truncation=True, max_length=CONTEXT_LENGTH, return_tensors="pt")
    assert torch.equal(tokens.input_ids, open_clip.get_tokenizer(f"local-dir:{folder}")(CAPTIONS))
    with torch.no_grad():
        expected = model(pixels, tokens.input_ids)
        found = theirs(**tokens, pixel_values=pixels)
    # The two compute attention in different order, in float32.
    torch.testing.assert_close(found.image_embeds, expected["image_features"], atol=1e-5, rtol=0)
    torch.testing.assert_close(found.text_embeds, expected["text_features"], atol=1e-5, rtol=0)
    assert found.logits_per_image.shape == (1, len(CAPTIONS))


def test_encoder_gives_unit_features_in_order_whatever_the_batch(tmp_path: Path) -> None:
    _, folder = exported("s_small", tmp_path)
    encoder = load_encoder(folder)
    images = [Image.new("RGB", (40, 32), colour) for colour in ("red", "green", "blue")]
    features = encoder.encode_images(images)
    torch.testing.assert_close(features.norm(dim=-1), torch.ones(3))
    torch.testing.assert_close(encoder.encode_images(images, batch_size=2), features)
    torch.testing.assert_close(encoder.encode_texts(CAPTIONS, batch_size=2), encoder.encode_texts(CAPTIONS))
    assert encoder.logit_scale == pytest.approx(1 / 0.07)
    assert len(encoder.checkpoint_sha256) == 64


def test_encoder_tells_which_texts_are_truncated(tmp_path: Path) -> None:
    encoder = load_encoder(exported("s_small", tmp_path)[1])
    fits, does_not = "house " * (CONTEXT_LENGTH - 2), "house " * (CONTEXT_LENGTH - 1)
    assert encoder.truncated([fits, does_not, ""]).tolist() == [False, True, False]


def test_export_replaces_what_an_interrupted_run_left(tmp_path: Path) -> None:
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "stale").touch()
    _, folder = exported("s_small", tmp_path)
    assert not (folder / "stale").exists()
    assert isinstance(load_encoder(folder), ClipEncoder)


def test_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"not an open_clip directory: found no open_clip_config.json"):
        load_encoder(tmp_path)


def test_weights_of_another_width_are_refused(tmp_path: Path) -> None:
    import json

    _, folder = exported("s_small", tmp_path)
    path = folder / "open_clip_config.json"
    config = json.loads(path.read_text())
    config["model_cfg"]["embed_dim"] = 32
    path.write_text(json.dumps(config))
    with pytest.raises(UserError, match="the model cannot be loaded"):
        load_encoder(folder)
