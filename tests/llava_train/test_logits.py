"""Three ways to one number: the trained model, its published directory, and a forward pass written independently."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from jaxtyping import Float
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from imagetext.conversations import PAPER_PROMPT
from llava_train import phases
from llava_train.config import FineTuneConfig, LoraConfig
from llava_train.model import load_captioner
from tests.llava_train import published, reference_forward, tiny

TOLERANCE = {"rtol": 1e-4, "atol": 1e-4}
"""float32 products of the same numbers, summed in another order; logits are of size 1 to 10."""


def own_language_model(root: Path, folder: Path) -> FineTuneConfig:
    return tiny.config(root, folder / "run")


def published_llama_with_lora(root: Path, folder: Path) -> FineTuneConfig:
    config = tiny.pretrained_config(root, folder / "run", published.write_llama(folder / "llama"))
    instruct = dataclasses.replace(config.instruct, lora=LoraConfig(rank=4, alpha=8))
    return dataclasses.replace(config, instruct=instruct)


def tied_llama_on_siglip(root: Path, folder: Path) -> FineTuneConfig:
    llama = published.write_llama(folder / "llama", tie_word_embeddings=True)
    config = tiny.pretrained_config(root, folder / "run", llama)
    return dataclasses.replace(config, vision_tower=published.write_siglip(folder / "siglip"))


@pytest.mark.parametrize("write", [own_language_model, published_llama_with_lora, tied_llama_on_siglip])
def test_trained_reloaded_and_reference_logits_agree(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write
) -> None:
    trained: list[LlavaForConditionalGeneration] = []
    publish = phases.export_captioner
    monkeypatch.setattr(
        phases,
        "export_captioner",
        lambda llava, *rest, **named: (trained.append(llava), publish(llava, *rest, **named)),
    )
    folder = phases.fine_tune(write(root, tmp_path))
    captioner = load_captioner(folder, device="cpu", precision=torch.float32)
    ids = captioner.prompt_ids(PAPER_PROMPT)
    image = Image.linear_gradient("L").convert("RGB").crop((0, 0, 64, 256))
    pixels = captioner.normaliser(torch.from_numpy(captioner.geometry.prepare(image))[None])
    in_memory = answer(trained[0].eval(), ids, pixels)
    reloaded = answer(LlavaForConditionalGeneration.from_pretrained(folder).eval(), ids, pixels)
    config = json.loads((folder / "config.json").read_text())
    reference = reference_forward.logits(load_file(folder / "model.safetensors"), config, ids, pixels[0])
    torch.testing.assert_close(reloaded, in_memory, **TOLERANCE)
    torch.testing.assert_close(in_memory, reference, **TOLERANCE)


@torch.inference_mode()
def answer(
    llava: LlavaForConditionalGeneration, ids: list[int], pixels: Float[Tensor, "one channel height width"]
) -> Float[Tensor, "tokens vocabulary"]:
    return llava(input_ids=torch.tensor([ids]), pixel_values=pixels).logits[0]
