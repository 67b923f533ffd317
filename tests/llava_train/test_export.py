"""The published directory: names servers expect, pixels of training, and a fresh Python that captions with it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from transformers import AutoProcessor, GenerationConfig, LlavaForConditionalGeneration, LlavaImageProcessorPil

from imagetext.conversations import PAPER_PROMPT, render_prompt
from llava_train.export import published_name
from llava_train.model import load_captioner
from llava_train.pixels import Normaliser, PixelGeometry, read_geometry
from tests.llava_train import tiny


@pytest.fixture
def wide_image() -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 255, (30, 120, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_key_layout_is_that_of_released_llava_checkpoints(export: Path) -> None:
    with safe_open(export / "model.safetensors", "pt") as weights:
        names = set(weights.keys())
    assert {name.split(".")[0] for name in names} == {"language_model", "vision_tower", "multi_modal_projector"}
    assert {
        "language_model.model.embed_tokens.weight",
        "language_model.model.layers.0.self_attn.q_proj.weight",
        "language_model.lm_head.weight",
        "vision_tower.vision_model.embeddings.patch_embedding.weight",
        "vision_tower.vision_model.encoder.layers.2.mlp.fc1.weight",
        "multi_modal_projector.linear_1.weight",
        "multi_modal_projector.linear_2.bias",
    } <= names
    assert not any(name.startswith("model.") for name in names)


@pytest.mark.parametrize("level", ["", "vision_model."])
def test_both_generations_of_names_in_memory_are_published_alike(level: str) -> None:
    assert (
        published_name(f"model.vision_tower.{level}pre_layrnorm.bias") == "vision_tower.vision_model.pre_layrnorm.bias"
    )


def test_config_and_generation_settings(export: Path) -> None:
    config = json.loads((export / "config.json").read_text())
    assert config["architectures"] == ["LlavaForConditionalGeneration"]
    assert config["vision_feature_layer"] == -2
    assert config["vision_feature_select_strategy"] == "default"
    assert config["image_token_index"] == AutoProcessor.from_pretrained(export).tokenizer.convert_tokens_to_ids(
        "<image>"
    )
    generation = GenerationConfig.from_pretrained(export)
    tokenizer = AutoProcessor.from_pretrained(export).tokenizer
    stops = set(tokenizer.convert_tokens_to_ids(["<|eot_id|>", "<|end_of_text|>"]))
    assert set(generation.eos_token_id) == stops
    assert generation.max_new_tokens == 128


def test_processor_pixels_equal_training_pixels_on_a_wide_image(export: Path, wide_image: Image.Image) -> None:
    geometry = read_geometry(export)
    trained = Normaliser(geometry)(torch.from_numpy(geometry.prepare(wide_image))[None])
    published = LlavaImageProcessorPil.from_pretrained(export)(wide_image, return_tensors="pt")["pixel_values"]
    # Float rounding of (x / 255 - mean) / std against (x - 255 mean) / (255 std).
    torch.testing.assert_close(published, trained, rtol=0, atol=2e-6)
    by_torchvision = AutoProcessor.from_pretrained(export).image_processor(wide_image, return_tensors="pt")[
        "pixel_values"
    ]
    # torchvision's own bicubic rounds some pixels to the neighbouring one of 256 levels.
    one_level = 1.01 / 255 / min(geometry.std)
    assert (by_torchvision - trained).abs().max() <= one_level


def test_processor_pixels_equal_training_pixels_without_padding(tmp_path: Path, wide_image: Image.Image) -> None:
    geometry = PixelGeometry(image_size_px=16, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4), pad=False)
    geometry.published().save_pretrained(tmp_path)
    assert read_geometry(tmp_path) == geometry
    trained = Normaliser(geometry)(torch.from_numpy(geometry.prepare(wide_image))[None])
    published = LlavaImageProcessorPil.from_pretrained(tmp_path)(wide_image, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(published, trained, rtol=0, atol=2e-6)


def test_processor_renders_the_prompt_as_training_does(export: Path, wide_image: Image.Image) -> None:
    processor = AutoProcessor.from_pretrained(export)
    message = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": PAPER_PROMPT}]}
    text = processor.apply_chat_template([message], add_generation_prompt=True)
    inputs = processor(images=wide_image, text=text, add_special_tokens=False, return_tensors="pt")
    expected = render_prompt(PAPER_PROMPT, processor.tokenizer, tiny.NUM_IMAGE_TOKENS)
    assert inputs["input_ids"][0].tolist() == expected


def test_transformers_generates_what_our_decoder_does(export: Path) -> None:
    captioner = load_captioner(export, device="cpu", precision=torch.float32)
    images = [Image.new("RGB", (24, 20), colour) for colour in tiny.COLOURS.values()]
    ours = captioner.answer_pixels(
        [captioner.geometry.prepare(image) for image in images],
        [PAPER_PROMPT] * len(images),
        max_new_tokens=24,
        batch_size=3,
    )
    llava = LlavaForConditionalGeneration.from_pretrained(export).eval()
    for image, answer in zip(images, ours, strict=True):
        pixel_values = captioner.normaliser(torch.from_numpy(captioner.geometry.prepare(image))[None])
        prompt = torch.tensor([captioner.prompt_ids(PAPER_PROMPT)])
        out = llava.generate(input_ids=prompt, pixel_values=pixel_values, max_new_tokens=24, do_sample=False)
        generated = out[0, prompt.shape[1] :].tolist()
        stops = set(llava.generation_config.eos_token_id)
        assert [token for token in generated if token not in stops] == list(answer.token_ids)
        assert (answer.finish_reason == "stop") == (generated[-1] in stops)


@pytest.mark.slow
def test_fresh_python_captions_with_transformers_alone(export: Path, tmp_path: Path) -> None:
    Image.new("RGB", (40, 30), (200, 30, 30)).save(tmp_path / "red.png")
    program = """
import sys
from PIL import Image
from transformers import AutoProcessor, LlavaForConditionalGeneration
model = LlavaForConditionalGeneration.from_pretrained(sys.argv[1])
processor = AutoProcessor.from_pretrained(sys.argv[1])
message = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Describe."}]}
text = processor.apply_chat_template([message], add_generation_prompt=True)
inputs = processor(images=Image.open(sys.argv[2]), text=text, add_special_tokens=False, return_tensors="pt")
out = model.generate(**inputs, max_new_tokens=8)
assert not [name for name in sys.modules if name.split(".")[0] in ("llava_train", "imagetext", "runtime")]
print("caption:", processor.decode(out[0, inputs["input_ids"].shape[1]:], skip_special_tokens=True))
"""
    arguments = [sys.executable, "-I", "-c", program, str(export), str(tmp_path / "red.png")]
    done = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "caption:" in done.stdout


def test_bare_numbers_in_processor_settings_are_sides(tmp_path: Path) -> None:
    settings = {"crop_size": 224, "size": 240, "do_center_crop": True, "image_mean": [0.5] * 3, "image_std": [0.2] * 3}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    geometry = read_geometry(tmp_path)
    assert (geometry.image_size_px, geometry.pad) == (224, False)
    del settings["crop_size"]
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    assert read_geometry(tmp_path).image_size_px == 240
