"""An untrained captioner, published as a trained one would be, whose answers end at different lengths."""

from pathlib import Path

import torch
from transformers import CLIPConfig, CLIPModel, LlavaForConditionalGeneration, PreTrainedTokenizerBase

from benchmarks.pictures import draw_pairs
from imagetext.conversations import PAPER_PROMPT, stop_token_ids
from imagetext.tokenizer_training import train_llama_bpe
from imagetext.tokenizers import load_hf_tokenizer
from llava_train.build import build_captioner
from llava_train.config import LanguageModelConfig
from llava_train.export import export_captioner
from llava_train.pixels import PixelGeometry
from llava_train.towers import load_tower

_STOP_SCALE = 1.4
"""Factor on the rows of the output layer that score the stop tokens. Untrained scores are near normal and the largest
of hundreds wins; so scaled, a stop token wins now and then, and answers have many lengths."""
_VISION = {
    "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "image_size": 64,
    "patch_size": 16, "initializer_factor": 5.0,
}  # fmt: skip
_TEXT = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 1,
    "max_position_embeddings": 16,
}  # fmt: skip


def write_captioner(folder: Path) -> Path:
    """Write tokenizer, tower and captioner below `folder`; return the published directory."""
    texts = [pair.caption for pair in draw_pairs(64, 64, 64)]
    config = LanguageModelConfig(vocab_size=512, initializer_range=0.2, embedding_std=1.0)
    train_llama_bpe([PAPER_PROMPT, *texts], config.vocab_size, folder / "tokenizer")
    tokenizer = load_hf_tokenizer(folder / "tokenizer")
    tower = load_tower(write_clip(folder / "clip"), max_length_tokens=config.max_length_tokens)
    llava = build_captioner(tower, tokenizer, config, seed=0, attention="eager")
    _let_answers_end(llava, tokenizer)
    geometry = PixelGeometry(image_size_px=64, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    export_captioner(llava, tokenizer, geometry, folder / "export")
    return folder / "export"


def write_clip(folder: Path) -> Path:
    """Write an untrained CLIP whose tower is of the small web's shape, 16 patches; return its directory."""
    torch.manual_seed(0)
    CLIPModel(CLIPConfig(text_config=_TEXT, vision_config=_VISION, projection_dim=16)).save_pretrained(folder)
    return folder


@torch.no_grad()
def _let_answers_end(llava: LlavaForConditionalGeneration, tokenizer: PreTrainedTokenizerBase) -> None:
    llava.lm_head.weight[stop_token_ids(tokenizer)] *= _STOP_SCALE
