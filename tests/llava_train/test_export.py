"""The published directory: names servers expect, pixels of training, and a fresh Python that captions with it."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    AutoProcessor,
    GenerationConfig,
    LlavaForConditionalGeneration,
    LlavaImageProcessorPil,
)

from imagetext.conversations import PAPER_PROMPT, render_prompt
from llava_train.export import export_captioner, published_name
from llava_train.model import load_captioner
from llava_train.phases import fine_tune
from llava_train.pixels import Normaliser, PixelGeometry, read_geometry
from tests.llava_train import published, tiny


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


def test_settings_are_said_under_older_names_too(export: Path) -> None:
    config = json.loads((export / "config.json").read_text())
    text = config["text_config"]
    assert config["torch_dtype"] == config["dtype"] == "float32"
    assert text["rope_theta"] == text["rope_parameters"]["rope_theta"]
    assert "rope_scaling" not in text
    assert config["image_seq_length"] == tiny.NUM_IMAGE_TOKENS
    assert config["pad_token_id"] == AutoProcessor.from_pretrained(export).tokenizer.pad_token_id
    settings = json.loads((export / "preprocessor_config.json").read_text())
    assert settings["image_processor_type"].startswith("LlavaImageProcessor")
    assert settings["do_pad"] is True
    processor = json.loads((export / "processor_config.json").read_text())
    assert (processor["patch_size"], processor["num_additional_image_tokens"]) == (8, 1)
    assert processor["vision_feature_select_strategy"] == "default"


def test_scaled_rotary_embedding_is_said_under_its_older_name(tmp_path: Path) -> None:
    """LLaMA-3.1's; the model that reads both names computes the same."""
    scaling = {
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    }  # fmt: skip
    llama = published.write_llama(tmp_path / "llama", rope_parameters={**scaling, "rope_theta": published.ROTARY_BASE})
    tiny.write_clip(tmp_path / "clip")
    tiny.write_data(tmp_path / "data")
    config = tiny.pretrained_config(tmp_path, tmp_path / "run", llama, phases=["align"])
    folder = fine_tune(config)
    text = json.loads((folder / "config.json").read_text())["text_config"]
    assert text["rope_scaling"] == scaling
    assert text["rope_theta"] == published.ROTARY_BASE
    ids = torch.arange(3, 90)[None]
    ours = LlavaForConditionalGeneration.from_pretrained(folder).eval()
    theirs = AutoModelForCausalLM.from_pretrained(llama).eval()
    with torch.inference_mode():
        found, wanted = ours(input_ids=ids).logits, theirs(input_ids=ids).logits
    torch.testing.assert_close(found[..., : wanted.shape[-1]], wanted, rtol=1e-5, atol=1e-5)


def test_large_models_are_cut_into_files_with_an_index(
    export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    captioner = load_captioner(export, device="cpu")
    monkeypatch.setattr("llava_train.export.MAX_FILE_BYTES", 20_000)
    export_captioner(captioner.llava, captioner.tokenizer, captioner.geometry, tmp_path / "cut", dtype=torch.bfloat16)
    index = json.loads((tmp_path / "cut" / "model.safetensors.index.json").read_text())
    whole = load_file(export / "model.safetensors")
    assert index["weight_map"].keys() == whole.keys()
    assert index["metadata"]["total_size"] == sum(2 * tensor.numel() for tensor in whole.values())
    files = {name: load_file(tmp_path / "cut" / name) for name in set(index["weight_map"].values())}
    assert len(files) > 2
    assert {path.name for path in (tmp_path / "cut").glob("*.safetensors")} == files.keys()
    for name, file in index["weight_map"].items():
        assert torch.equal(files[file][name], whole[name].bfloat16())
    again = LlavaForConditionalGeneration.from_pretrained(tmp_path / "cut")
    assert again.dtype == torch.bfloat16
    assert load_captioner(tmp_path / "cut", device="cpu").llava.dtype == torch.float32


def test_run_publishes_in_the_precision_asked_for(root: Path, tmp_path: Path) -> None:
    config = tiny.config(root, tmp_path / "run", num_updates=1)
    folder = fine_tune(dataclasses.replace(config, phases=["language"], published_precision="bf16"))
    assert {tensor.dtype for tensor in load_file(folder / "model.safetensors").values()} == {torch.bfloat16}
    between = load_file(tmp_path / "run" / "phases" / "language" / "model.safetensors")
    assert {tensor.dtype for tensor in between.values()} == {torch.float32}


def test_tied_head_is_published_once(tmp_path: Path) -> None:
    llama = published.write_llama(tmp_path / "llama", tie_word_embeddings=True)
    tiny.write_clip(tmp_path / "clip")
    tiny.write_data(tmp_path / "data")
    folder = fine_tune(tiny.pretrained_config(tmp_path, tmp_path / "run", llama, phases=["instruct"]))
    names = load_file(folder / "model.safetensors").keys()
    assert "language_model.model.embed_tokens.weight" in names
    assert "language_model.lm_head.weight" not in names
    llava = LlavaForConditionalGeneration.from_pretrained(folder)
    assert llava.lm_head.weight is llava.model.language_model.embed_tokens.weight


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
    expected = render_prompt(PAPER_PROMPT, processor.tokenizer, tiny.NUM_IMAGE_TOKENS)
    for options in ({}, {"add_special_tokens": False}):
        inputs = processor(images=wide_image, text=text, return_tensors="pt", **options)
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
inputs = processor(images=Image.open(sys.argv[2]), text=text, return_tensors="pt")
assert (inputs["input_ids"] == processor.tokenizer.bos_token_id).sum() == 1
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
