"""Put a captioner together: a trained vision tower, a fresh projector, and a language model, fresh or published."""

from typing import Any

import torch
from torch import nn
from transformers import (
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.initialization import no_init_weights

from imagetext.conversations import image_token_id
from llava_train.config import LanguageModelConfig
from llava_train.parts import inner_tower, num_patches
from llava_train.towers import has_class_token, tower_weights
from runtime.seeds import derive

VISION_FEATURE_LAYER = -2
"""LLaVA-1.5 reads the last layer but one of its CLIP (`mm_vision_select_layer`)."""


def build_captioner(
    tower: Any, tokenizer: PreTrainedTokenizerBase, config: LanguageModelConfig, *, seed: int, attention: str
) -> LlavaForConditionalGeneration:
    """Return a captioner with an untrained language model; a pure function of its arguments."""
    token_ids = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    llava_config = captioner_config(tower, small_language_config(config, **token_ids), tokenizer)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "captioner"))
        llava = LlavaForConditionalGeneration._from_config(llava_config, attn_implementation=attention)
        nn.init.normal_(llava.model.language_model.embed_tokens.weight, std=config.embedding_std)
        _initialise_projector(llava)
    inner_tower(llava).load_state_dict(tower_weights(tower))
    return llava.eval()


def join_captioner(
    tower: Any, language_model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, seed: int, attention: str
) -> LlavaForConditionalGeneration:
    """Return a captioner of a published language model, whose weights it takes over without a copy, in their type.

    The table has a row for every token already (`llava_train.language_models.widen_table`). The projector is
    untrained, a pure function of the seed.
    """
    llava_config = captioner_config(tower, language_model.config, tokenizer)
    with no_init_weights():
        llava = LlavaForConditionalGeneration._from_config(llava_config, attn_implementation=attention)
    llava.model.language_model.load_state_dict(language_model.base_model.state_dict(), assign=True)
    llava.lm_head.load_state_dict(language_model.get_output_embeddings().state_dict(), assign=True)
    inner_tower(llava).load_state_dict(tower_weights(tower), assign=True)
    llava.tie_weights()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "captioner"))
        _initialise_projector(llava)
    return llava.eval()


def captioner_config(tower: Any, text_config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase) -> LlavaConfig:
    """Return the config of LLaVA-1.5's construction: patches of the last layer but one, two layers of projector."""
    config = LlavaConfig(
        vision_config=tower.config.to_dict(),
        text_config=text_config.to_dict(),
        image_token_index=image_token_id(tokenizer),
        vision_feature_layer=VISION_FEATURE_LAYER,
        vision_feature_select_strategy="default" if has_class_token(tower) else "full",
        projector_hidden_act="gelu",
    )
    config.pad_token_id = tokenizer.pad_token_id
    config.image_seq_length = num_patches(tower.config)
    return config


def small_language_config(config: LanguageModelConfig, **token_ids: Any) -> LlamaConfig:
    """Return the small LLaMA's shape, with `bos_token_id` and the like of its tokenizer where there is one."""
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
        tie_word_embeddings=False,
        **token_ids,
    )


@torch.no_grad()
def _initialise_projector(llava: LlavaForConditionalGeneration) -> None:
    for linear in (llava.model.multi_modal_projector.linear_1, llava.model.multi_modal_projector.linear_2):
        nn.init.xavier_uniform_(linear.weight)
        nn.init.zeros_(linear.bias)
