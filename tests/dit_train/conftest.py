"""A text encoder of random weights and a transformer small enough to draw in milliseconds."""

import io
import json
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler
from PIL import Image
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from dit_train.export import export_pipeline
from dit_train.objective_config import NoiseConfig, ObjectiveConfig
from dit_train.objectives import build_objective
from dit_train.text_encoder import FrozenTextEncoder
from dit_train.transformer import TextDiT
from imagetext.shards import ShardRow, make_key, write_shard
from imagetext.sidecars import write_sidecar

CONTEXT_LENGTH = 24
TEXT_WIDTH = 32
SHIFT = 2.0


def _write_tokenizer(folder: Path) -> CLIPTokenizer:
    """Write a CLIP tokenizer of single letters: enough to tell prompts apart."""
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=CONTEXT_LENGTH)
    tokenizer.save_pretrained(folder)
    return tokenizer


@pytest.fixture(scope="session")
def text_encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text_encoder")
    tokenizer = _write_tokenizer(folder)
    torch.manual_seed(0)
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=TEXT_WIDTH,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=CONTEXT_LENGTH,
        initializer_range=0.2,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    CLIPTextModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def text_encoder(text_encoder_folder: Path) -> FrozenTextEncoder:
    return FrozenTextEncoder(text_encoder_folder, torch.device("cpu"))


def flow_scheduler(shift: float) -> FlowMatchEulerDiscreteScheduler:
    return build_objective(ObjectiveConfig(), NoiseConfig(shift=shift)).scheduler()


def small_transformer(**changes: object) -> TextDiT:
    settings: dict[str, object] = {
        "sample_size": 16,
        "in_channels": 3,
        "patch_size": 8,
        "width": 32,
        "depth": 2,
        "num_heads": 2,
        "text_width": TEXT_WIDTH,
        "text_window": 2,
        "text_summary": True,
        "head_layers": 2,
        "zero_init_text_out": False,
        "predicts_image": True,
    }
    torch.manual_seed(1)
    return TextDiT(**(settings | changes))


def stir(model: nn.Module, *, seed: int = 2) -> None:
    """Give every parameter random values, so that nothing is zero by initialisation."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))


@pytest.fixture
def transformer() -> TextDiT:
    model = small_transformer()
    stir(model)
    return model.eval()


@pytest.fixture(scope="session")
def vae_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write an autoencoder of random weights: two pixels to a cell, four channels."""
    folder = tmp_path_factory.mktemp("vae")
    torch.manual_seed(3)
    AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8),
        norm_num_groups=4,
        latent_channels=4,
        sample_size=16,
        scaling_factor=0.5,
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def export_folder(tmp_path_factory: pytest.TempPathFactory, text_encoder: FrozenTextEncoder) -> Path:
    folder = tmp_path_factory.mktemp("run") / "export"
    model = small_transformer()
    stir(model)
    export_pipeline(folder, model, text_encoder, scheduler=flow_scheduler(SHIFT), facts={"original_share": 0.1})
    return folder


@pytest.fixture(scope="session")
def web(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write two shards of plain squares, and recaptions beside them."""
    folder = tmp_path_factory.mktemp("web")
    colours = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
    for index in range(2):
        rows, recaptions = [], []
        for row in range(12):
            name = list(colours)[row % 3]
            picture = io.BytesIO()
            Image.new("RGB", (24, 20), colours[name]).save(picture, "JPEG")
            key = make_key(index, row)
            rows.append(ShardRow(key=key, image=picture.getvalue(), caption=f"buy {name}"))
            recaptions.append({"key": key, "re_caption": f"a {name} square"})
        write_shard(folder / "shards", index, rows)
        write_sidecar(folder / "recaptions", f"{index:05d}", recaptions)
    return folder
