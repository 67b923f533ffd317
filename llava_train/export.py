"""Publish a captioner as a transformers directory in the key layout that servers load too."""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import GenerationConfig, LlavaForConditionalGeneration, LlavaProcessor, PreTrainedTokenizerBase

from imagetext.conversations import stop_token_ids
from llava_train.parts import vision_config
from llava_train.pixels import PixelGeometry
from runtime.atomic import atomic_directory

MAX_NEW_TOKENS = 128
"""The paper's limit on a caption's tokens (arXiv 2406.08478, section 3.2)."""

_PUBLISHED_NAMES = (
    (re.compile(r"^model\.language_model\."), "language_model.model."),
    (re.compile(r"^lm_head\."), "language_model.lm_head."),
    (re.compile(r"^model\.multi_modal_projector\."), "multi_modal_projector."),
    (re.compile(r"^model\.vision_tower\.(?:vision_model\.)?"), "vision_tower.vision_model."),
)
"""From the names in memory to those of the released LLaVA checkpoints, which transformers and vLLM both map back.

transformers 5 would itself drop `vision_model.` when saving, and vLLM then finds no vision tower.
"""


def published_name(name: str) -> str:
    """Return the name under which a weight of `LlavaForConditionalGeneration` is published."""
    for pattern, replacement in _PUBLISHED_NAMES:
        renamed, count = pattern.subn(replacement, name)
        if count:
            return renamed
    raise AssertionError(f"no published name for {name}")


def export_captioner(
    llava: LlavaForConditionalGeneration,
    tokenizer: PreTrainedTokenizerBase,
    geometry: PixelGeometry,
    folder: Path,
) -> None:
    """Write weights, config, processor, chat template and generation settings to `folder`, whole or not at all."""
    with atomic_directory(folder) as partial:
        _save_config(llava, partial)
        save_file(_published(llava.state_dict()), partial / "model.safetensors", metadata={"format": "pt"})
        LlavaProcessor(
            image_processor=geometry.published(),
            tokenizer=tokenizer,
            patch_size=vision_config(llava).patch_size,
            vision_feature_select_strategy=llava.config.vision_feature_select_strategy,
            chat_template=tokenizer.chat_template,
            num_additional_image_tokens=1,  # the class token, which "default" drops again
        ).save_pretrained(partial)
        GenerationConfig(
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=stop_token_ids(tokenizer),
            pad_token_id=tokenizer.pad_token_id,
            do_sample=False,
            max_new_tokens=MAX_NEW_TOKENS,
        ).save_pretrained(partial)


def _save_config(llava: LlavaForConditionalGeneration, folder: Path) -> None:
    config = llava.config.__class__.from_dict(llava.config.to_dict())
    config.architectures = ["LlavaForConditionalGeneration"]
    config.dtype = torch.float32
    config.save_pretrained(folder)


def _published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {published_name(name): tensor.detach().float().contiguous().cpu() for name, tensor in state.items()}
