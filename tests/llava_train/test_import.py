"""Captioners of the original LLaVA code: every tensor finds its place, and they say what they said."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import CLIPVisionModel, GenerationConfig, LlavaForConditionalGeneration

from imagetext.conversations import PAPER_PROMPT
from llava_train.import_config import ImportConfig
from llava_train.importing import MARK, import_captioner
from llava_train.model import load_captioner
from runtime.errors import UserError
from tests.llava_train import published, reference_forward, tiny

TOWER = "model.vision_tower.vision_tower.vision_model."


@pytest.fixture(scope="module")
def original(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published.write_original(tmp_path_factory.mktemp("original") / "llava", root / "clip", files="sharded")


def expected_names(clip: Path, tower_dtype: torch.dtype) -> dict[str, Tensor]:
    """Return the original's tensors and its tower's by the names servers read, renamed by hand."""
    named = {}
    for name, tensor in published.original_weights().items():
        if "mm_projector" in name:
            _, _, place, kind = name.split(".")
            named[f"multi_modal_projector.{'linear_1' if place == '0' else 'linear_2'}.{kind}"] = tensor
        else:
            named[f"language_model.{name}"] = tensor
    tower = load_file(clip / "model.safetensors")
    vision = {name: tensor for name, tensor in tower.items() if name.startswith("vision_model.")}
    return named | {f"vision_tower.{name}": tensor.to(tower_dtype) for name, tensor in vision.items()}


@pytest.mark.parametrize("files", ["safetensors", "sharded", "bin"])
def test_every_tensor_arrives_unchanged(root: Path, tmp_path: Path, files: str) -> None:
    folder = published.write_original(tmp_path / "in", root / "clip", files=files)
    output = import_captioner(ImportConfig(input=folder, output=tmp_path / "out"))
    found = load_file(output / "model.safetensors")
    wanted = expected_names(root / "clip", torch.float16)
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert torch.equal(found[name][: len(tensor)], tensor), name
        assert found[name].shape == tensor.shape or ("embed_tokens" in name or "lm_head" in name)
    counts = json.loads((output / MARK).read_text())["num_tensors"]
    assert sum(counts.values()) == len(published.original_weights())


def test_imported_captioner_computes_what_the_original_did(root: Path, original: Path, tmp_path: Path) -> None:
    output = import_captioner(ImportConfig(input=original, output=tmp_path / "out", precision="fp32"))
    captioner = load_captioner(output, device="cpu", precision=torch.float32)
    ids = captioner.prompt_ids(PAPER_PROMPT)
    pixels = torch.randn(3, tiny.IMAGE_SIZE_PX, tiny.IMAGE_SIZE_PX, generator=torch.Generator().manual_seed(0))
    settings = json.loads((original / "config.json").read_text())
    vision = json.loads((root / "clip" / "config.json").read_text())["vision_config"]
    config = {
        "text_config": settings, "vision_config": {**vision, "num_attention_heads": 1}, "vision_feature_layer": -2,
        "vision_feature_select_strategy": "default", "image_token_index": settings["vocab_size"],
    }  # fmt: skip
    weights = expected_names(root / "clip", torch.float32)
    # The places of the picture read a row before its features replace what they read.
    table = weights["language_model.model.embed_tokens.weight"]
    weights["language_model.model.embed_tokens.weight"] = torch.cat([table, torch.zeros_like(table[:1])])
    wanted = reference_forward.logits(weights, config, ids, pixels)
    with torch.inference_mode():
        found = captioner.llava(input_ids=torch.tensor([ids]), pixel_values=pixels[None]).logits[0]
    torch.testing.assert_close(found[:, : wanted.shape[1]], wanted, rtol=1e-4, atol=1e-4)


def test_settings_of_the_directory(original: Path, tmp_path: Path) -> None:
    output = import_captioner(ImportConfig(input=original, output=tmp_path / "out"))
    config = json.loads((output / "config.json").read_text())
    assert (config["dtype"], config["torch_dtype"]) == ("float16", "float16")
    assert config["text_config"]["vocab_size"] == 320
    assert config["text_config"]["rope_theta"] == published.ROTARY_BASE
    assert not [name for name in config["text_config"] if name.startswith("mm_")]
    assert (config["image_token_index"], config["pad_token_id"]) == (published.NUM_TOKENS, published.NUM_TOKENS + 1)
    captioner = load_captioner(output, device="cpu")
    assert captioner.geometry.pad
    stops = captioner.tokenizer.convert_tokens_to_ids(["<|eot_id|>", "<|end_of_text|>"])
    assert set(GenerationConfig.from_pretrained(output).eos_token_id) == set(stops)


def test_tower_in_the_checkpoint_wins_over_the_published_one(root: Path, tmp_path: Path) -> None:
    tower = {
        TOWER + name: 2 * tensor for name, tensor in CLIPVisionModel.from_pretrained(root / "clip").state_dict().items()
    }
    derived = {
        TOWER + "embeddings.position_ids": torch.arange(tiny.NUM_IMAGE_TOKENS + 1)[None],
        "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4),
    }
    weights = {**published.original_weights(), **tower, **derived}
    folder = published.write_original(tmp_path / "in", root / "clip", weights=weights, unfreeze_mm_vision_tower=True)
    output = import_captioner(ImportConfig(input=folder, output=tmp_path / "out", precision="fp32"))
    llava = LlavaForConditionalGeneration.from_pretrained(output)
    name = "embeddings.class_embedding"
    assert torch.equal(llava.state_dict()[f"model.vision_tower.{name}"], tower[TOWER + name])


def without(prefix: str) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in published.original_weights().items() if not name.startswith(prefix)}


def beside(name: str) -> dict[str, Tensor]:
    return {**published.original_weights(), name: torch.zeros(2)}


@pytest.mark.parametrize(
    ("weights", "changes", "message"),
    [
        (without("model.mm_projector"), {}, r"the checkpoint lacks its projector: found 4 of 4 weights missing"),
        (without("model.mm_projector.2.bias"), {}, r"lacks its projector: 'linear_2\.bias': found 1 of 4"),
        (without("model.layers.1.mlp.up_proj"), {}, r"lacks its language model: 'layers\.1\.mlp\.up_proj\.weight'"),
        (without("lm_head"), {}, r"the checkpoint lacks its head: found 1 of 1"),
        (beside("model.image_newline"), {}, r"tensor 'model\.image_newline' would be left unused: found 1 such"),
        (beside("model.mm_projector.4.weight"), {}, r"tensor 'model\.mm_projector\.4\.weight' would be left unused"),
        (beside("model.layers.2.mlp.up_proj.weight"), {}, r"tensor 'language_model: layers\.2\.mlp\.up_proj\.weight'"),
        (
            {f"base_model.model.{name}": tensor for name, tensor in published.original_weights().items()},
            {},
            r"tensor 'base_model\.model\.lm_head\.weight' would be left unused",
        ),
        (None, {"mm_projector_type": "linear"}, r"mm_projector_type: found linear, wanted mlp2x_gelu"),
        (None, {"mm_use_im_start_end": True}, r"mm_use_im_start_end: found True, wanted False"),
        (None, {"mm_projector_type": None}, r"mm_projector_type: found None, wanted mlp2x_gelu"),
        (None, {"s2": True}, r"s2: found True, wanted False"),
        (None, {"mm_patch_merge_type": "spatial_unpad"}, r"mm_patch_merge_type: found spatial_unpad, wanted flat"),
        (None, {"image_aspect_ratio": "anyres"}, r"image_aspect_ratio: found anyres, wanted pad or square"),
        (None, {"mm_vision_select_feature": "cls_patch"}, r"mm_vision_select_feature: found cls_patch, wanted patch"),
        (None, {"architectures": ["LlavaMptForCausalLM"]}, r"not the original layout: found .*Mpt.*, wanted"),
        (None, {"unfreeze_mm_vision_tower": True}, r"lacks its vision tower: found unfreeze_mm_vision_tower: true"),
        (None, {"hidden_size": 64}, r"weight '.*' has another shape: found \["),
    ],
)
def test_unsound_checkpoints_are_refused_by_name(
    root: Path, tmp_path: Path, weights: dict[str, Tensor] | None, changes: dict, message: str
) -> None:
    folder = published.write_original(tmp_path / "in", root / "clip", weights=weights, **changes)
    with pytest.raises(UserError, match=message):
        import_captioner(ImportConfig(input=folder, output=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_missing_file_of_the_index_is_named(root: Path, tmp_path: Path) -> None:
    folder = published.write_original(tmp_path / "in", root / "clip", files="bin")
    (folder / "pytorch_model-00002-of-00002.bin").unlink()
    with pytest.raises(UserError, match=r"pytorch_model-00002-of-00002\.bin: no weights here: found no such file"):
        import_captioner(ImportConfig(input=folder, output=tmp_path / "out"))


def test_tokenizer_without_a_template_needs_one_named(root: Path, tmp_path: Path) -> None:
    folder = published.write_original(tmp_path / "in", root / "clip")
    (folder / "chat_template.jinja").unlink()
    config = ImportConfig(input=folder, output=tmp_path / "out")
    with pytest.raises(
        UserError, match=r"tokenizer has no chat template\. Name the one to train with by chat_template: llama3"
    ):
        import_captioner(config)
    named = ImportConfig(input=folder, output=tmp_path / "out", chat_template="llama3")
    assert load_captioner(import_captioner(named), device="cpu").tokenizer.chat_template


def test_second_import_returns_at_once_and_overwrites_nothing_else(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = ImportConfig(input=original, output=tmp_path / "out")
    import_captioner(config)
    monkeypatch.setattr("llava_train.importing.read_original_weights", lambda _: pytest.fail("read again"))
    assert import_captioner(config) == tmp_path / "out"
    other = ImportConfig(input=original, output=tmp_path / "out", precision="bf16")
    with pytest.raises(UserError, match=r"out: holds something else already"):
        import_captioner(other)


def test_command_says_where_and_ends_in_one_line_on_mistakes(original: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "llava_train.import_llava", "--output", str(tmp_path / "out"), "--input"]
    done = subprocess.run([*command, str(original)], capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout) == (0, f"captioner: {tmp_path / 'out'}\n"), done.stderr[-2000:]
    done = subprocess.run([*command, str(tmp_path / "nowhere")], capture_output=True, text=True, timeout=100)
    assert done.returncode == 2
    assert re.fullmatch(r"error: .*nowhere: no such folder\. Check --input\n", done.stderr)
