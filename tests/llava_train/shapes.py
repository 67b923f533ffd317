"""Captioners small enough to run and large enough that no two of their widths are alike."""

from typing import Any

import torch
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

IMAGE_ID, PAD_ID = 1, 2
TOKENS_PER_IMAGE = 4
VISION = {
    "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 16,
    "patch_size": 8,
}  # fmt: skip
LANGUAGE = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 56, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2,
}  # fmt: skip


def small_llava(attention: str = "eager", **language: Any) -> LlavaForConditionalGeneration:
    """Return an untrained captioner with grouped heads."""
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**VISION).to_dict(),
        text_config=LlamaConfig(**{**LANGUAGE, **language}).to_dict(),
        image_token_index=IMAGE_ID,
        vision_feature_layer=-2,
        image_seq_length=TOKENS_PER_IMAGE,
    )
    torch.manual_seed(0)
    return LlavaForConditionalGeneration._from_config(config, attn_implementation=attention)
