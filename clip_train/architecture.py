"""How a preset becomes an open_clip model config, and that a model with its initial weights."""

import math
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch
from open_clip.model import CLIP
from open_clip.transformer import VisionTransformer

from clip_train.initialisation import NARROW_TOKEN_STD, WIDE_TOKEN_STD, initialise, start_as_bag_of_words
from clip_train.model_files import ModelFile
from clip_train.presets import ModelPreset, TimmTower
from runtime.errors import UserError
from runtime.seeds import derive

BLOCKS = ("CustomResidualAttentionBlock", "ResidualAttentionBlock")
"""open_clip's classes of transformer blocks: what ranks that share weights out gather at a time."""
MAX_LOGIT_SCALE = 100.0
"""Upper bound of the logit scale (Radford et al. 2021, section 2.5)."""

WORDPIECE_END_ID = 3
"""Id of [SEP], which ends a WordPiece text."""
FAST_BLOCK = "custom"
"""The open_clip block that computes what the default one does 20 % faster on a CPU: no nn.MultiheadAttention."""


LOCAL_TOKENIZER = "local"
"""What a published config names as its Hugging Face tokenizer: the directory's own, which open_clip takes instead."""
OPEN_CLIP_VOCAB_SIZE = 49_408
"""Rows of the word table of a config that doesn't say."""
SIGMOID_SCALE, SIGMOID_BIAS = math.log(10), -10.0
"""Initial logit scale (its logarithm) and bias of the sigmoid loss (Zhai et al. 2023, section 3.2)."""


def model_config(
    preset: ModelPreset | ModelFile,
    *,
    image_size_px: int,
    vocab_size: int,
    context_length: int,
    end_id: int = WORDPIECE_END_ID,
    own_tokenizer: bool = True,
    sigmoid: bool = False,
) -> dict[str, Any]:
    """Return open_clip's `model_cfg`; it rebuilds the model in any open_clip.

    `vocab_size` and `end_id` are the tokenizer's; `own_tokenizer` says that it will lie beside the weights. With
    `sigmoid` the model has the bias that the sigmoid loss needs. Raises UserError when the tokenizer has more words
    than a model file has rows.
    """
    if isinstance(preset, ModelFile):
        config = _file_config(preset, image_size_px, vocab_size, context_length, end_id, own_tokenizer)
    else:
        config = _preset_config(preset, image_size_px, vocab_size, context_length)
    return config | ({"init_logit_scale": SIGMOID_SCALE, "init_logit_bias": SIGMOID_BIAS} if sigmoid else {})


def _file_config(
    model: ModelFile, image_size_px: int, vocab_size: int, context_length: int, end_id: int, own_tokenizer: bool
) -> dict[str, Any]:
    config = deepcopy(dict(model.config))
    text = config["text_cfg"]
    rows = text.get("vocab_size", OPEN_CLIP_VOCAB_SIZE)
    if vocab_size > rows:
        wanted = f"at most {rows}, the rows of {model.file.name}"
        raise UserError(
            "the tokenizer has more words than the model", where="tokenizer", found=vocab_size, wanted=wanted
        )
    config["vision_cfg"]["image_size"] = image_size_px
    text["context_length"] = context_length
    # The same weights under the same names, faster, and with last blocks that can be computed at a text's end alone.
    text.setdefault("block_type", FAST_BLOCK)
    if model.is_plain_vit:
        config["vision_cfg"].setdefault("block_type", FAST_BLOCK)
    if own_tokenizer:
        text["hf_tokenizer_name"] = LOCAL_TOKENIZER
    if text.get("pool_type") == "eos":
        text["eos_id"] = end_id
    return config


def _preset_config(preset: ModelPreset, image_size_px: int, vocab_size: int, context_length: int) -> dict[str, Any]:
    text = {
        "context_length": context_length,
        "vocab_size": vocab_size,
        "heads": preset.text.width // preset.text.head_width,
        "width": preset.text.width,
        "layers": preset.text.layers,
        "block_type": FAST_BLOCK,
        "hf_tokenizer_name": LOCAL_TOKENIZER,
    }
    vision = {"image_size": image_size_px, **_vision_config(preset)}
    if preset.family == "recap":
        text |= {"pool_type": "eos", "eos_id": WORDPIECE_END_ID, "act_kwargs": {"approximate": "tanh"}}
    return {"embed_dim": preset.embed_dim, "vision_cfg": vision, "text_cfg": text}


def _vision_config(preset: ModelPreset) -> dict[str, Any]:
    tower = preset.vision
    if isinstance(tower, TimmTower):
        return {"timm_model_name": tower.name, "timm_pool": "avg", "timm_proj": "linear"}
    return {
        "width": tower.width,
        "head_width": tower.head_width,
        "layers": tower.layers,
        "patch_size": preset.patch_size_px,
        "block_type": FAST_BLOCK,
    }


def compile_blocks(model: CLIP) -> None:
    """Have torch compile a model's transformer blocks, in place; its weights keep their names.

    Blocks and not towers: all of a tower's share one program, and ranks that share weights out gather them by blocks.
    """
    for module in model.modules():
        if type(module).__name__ in BLOCKS:
            module.compile()


def build_model(config: Mapping[str, Any], seed: int, *, narrow: bool = True) -> CLIP:
    """Build and initialise the model that an open_clip `model_cfg` describes; a pure function of config and seed.

    `narrow` models start as the miniature's do, others as OpenAI's.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "clip model"))
        model = CLIP(**config, output_dict=True)
        initialise(model, NARROW_TOKEN_STD if narrow else WIDE_TOKEN_STD)
        if narrow and config["text_cfg"].get("pool_type") == "eos":
            start_as_bag_of_words(model)
    model._no_split_modules = BLOCKS
    if not isinstance(model.visual, VisionTransformer):
        # Convolutions run 1.5 times as fast on a CPU with channels last; images follow the layout of the weights.
        model.visual.to(memory_format=torch.channels_last)
    return model
