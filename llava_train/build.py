"""Put a captioner together: the foundation's vision tower, a fresh projector and a fresh small LLaMA."""

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    CLIPModel,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedTokenizerBase,
)

from imagetext.conversations import image_token_id
from llava_train.config import LanguageModelConfig
from llava_train.parts import inner_tower, num_image_tokens, num_patches
from runtime.errors import UserError
from runtime.pretrained import load_pretrained
from runtime.seeds import derive

VISION_FEATURE_LAYER = -2
"""LLaVA-1.5 reads the last layer but one of its CLIP (`mm_vision_select_layer`)."""


def load_tower(clip: Path, config: LanguageModelConfig) -> Any:
    """Return the trained vision tower of a CLIP, a class that transformers names anew now and then.

    Raises UserError when `clip` is no transformers CLIP directory, or an image alone fills the longest sequence.
    """
    tower = load_pretrained(CLIPModel, clip, model_types=["clip"], dtype=torch.float32).vision_model
    _require_room_for_text(num_patches(tower.config), config.max_length_tokens)
    return tower


def build_captioner(
    tower: Any, tokenizer: PreTrainedTokenizerBase, config: LanguageModelConfig, *, seed: int, attention: str
) -> LlavaForConditionalGeneration:
    """Return an untrained captioner on a trained vision tower; a pure function of its arguments."""
    llava_config = LlavaConfig(
        vision_config=tower.config.to_dict(),
        text_config=_language_config(tokenizer, config).to_dict(),
        image_token_index=image_token_id(tokenizer),
        vision_feature_layer=VISION_FEATURE_LAYER,
        vision_feature_select_strategy="default",
        projector_hidden_act="gelu",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "captioner"))
        llava = LlavaForConditionalGeneration._from_config(llava_config, attn_implementation=attention)
        _initialise(llava, config)
    inner_tower(llava).load_state_dict(tower.state_dict())
    llava.config.image_seq_length = num_image_tokens(llava)
    return llava.eval()


def _require_room_for_text(num_image_tokens: int, max_length_tokens: int) -> None:
    if num_image_tokens >= max_length_tokens:
        raise UserError(
            f"no room for text beside the {num_image_tokens} tokens of one image",
            where="language_model.max_length_tokens",
            found=max_length_tokens,
            wanted=f"more than {num_image_tokens}",
            fix="Raise it, or take a vision tower of fewer patches",
        )


def _language_config(tokenizer: PreTrainedTokenizerBase, config: LanguageModelConfig) -> LlamaConfig:
    num_heads = config.width // config.head_width
    return LlamaConfig(
        vocab_size=config.vocab_size,
        hidden_size=config.width,
        intermediate_size=config.mlp_width,
        num_hidden_layers=config.num_layers,
        num_attention_heads=num_heads,
        num_key_value_heads=num_heads,
        max_position_embeddings=config.max_length_tokens,
        initializer_range=config.initializer_range,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=False,
    )


@torch.no_grad()
def _initialise(llava: LlavaForConditionalGeneration, config: LanguageModelConfig) -> None:
    nn.init.normal_(llava.model.language_model.embed_tokens.weight, std=config.embedding_std)
    for linear in (llava.model.multi_modal_projector.linear_1, llava.model.multi_modal_projector.linear_2):
        nn.init.xavier_uniform_(linear.weight)
        nn.init.zeros_(linear.bias)
