"""Put a captioner together: the foundation's vision tower, a fresh projector and a fresh small LLaMA."""

from pathlib import Path

import torch
from torch import nn
from transformers import (
    CLIPModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedTokenizerBase,
)

from imagetext.conversations import image_token_id
from llava_train.config import LanguageModelConfig
from runtime.errors import UserError
from runtime.seeds import derive

VISION_FEATURE_LAYER = -2
"""LLaVA-1.5 reads the last layer but one of its CLIP (`mm_vision_select_layer`)."""


def build_captioner(
    clip: Path, tokenizer: PreTrainedTokenizerBase, config: LanguageModelConfig, *, seed: int, attention: str
) -> LlavaForConditionalGeneration:
    """Return an untrained captioner on a trained vision tower; a pure function of its arguments.

    Raises UserError when `clip` is no transformers CLIP directory.
    """
    tower = read_vision_tower(clip)
    llava_config = LlavaConfig(
        vision_config=tower.config.to_dict(),
        text_config=_language_config(tokenizer, config).to_dict(),
        image_token_index=image_token_id(tokenizer),
        image_seq_length=num_image_tokens(tower.config),
        vision_feature_layer=VISION_FEATURE_LAYER,
        vision_feature_select_strategy="default",
        projector_hidden_act="gelu",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "captioner"))
        llava = LlavaForConditionalGeneration._from_config(llava_config, attn_implementation=attention)
        _initialise(llava, config)
    llava.model.vision_tower.load_state_dict(tower.state_dict())
    return llava.eval()


def read_vision_tower(clip: Path) -> CLIPVisionModel:
    """Load the vision tower of a transformers CLIP directory."""
    if not (clip / "config.json").exists():
        wanted = "a transformers CLIPModel directory"
        raise UserError("no CLIP here", where=clip, found="no config.json", wanted=wanted)
    try:
        model, report = CLIPModel.from_pretrained(clip, output_loading_info=True, dtype=torch.float32)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError("the CLIP can't be loaded", where=clip, found=str(error)) from error
    wrong = sorted(str(name) for name in [*report["missing_keys"], *report["mismatched_keys"]])
    if wrong:
        raise UserError("weights are missing or of another shape", where=clip, found=wrong[0])
    return model.vision_model


def num_image_tokens(config: CLIPVisionConfig) -> int:
    """Return the number of patches of one image."""
    return (config.image_size // config.patch_size) ** 2


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
    nn.init.normal_(llava.get_input_embeddings().weight, std=config.embedding_std)
    for linear in (llava.model.multi_modal_projector.linear_1, llava.model.multi_modal_projector.linear_2):
        nn.init.xavier_uniform_(linear.weight)
        nn.init.zeros_(linear.bias)
