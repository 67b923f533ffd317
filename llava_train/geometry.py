"""The shape of a captioner without its weights: from a config on disk, or from what is known of public models."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration
from transformers.initialization import no_init_weights

from llava_train.build import VISION_FEATURE_LAYER, small_language_config
from llava_train.config import FineTuneConfig
from llava_train.language_models import ROW_MULTIPLE
from llava_train.parts import num_patches
from runtime.errors import UserError

_LLAMA_3_8B: dict[str, Any] = {
    "vocab_size": 128_256, "hidden_size": 4096, "intermediate_size": 14_336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 8192, "rms_norm_eps": 1e-5,
    "rope_theta": 500_000.0, "bos_token_id": 128_000, "eos_token_id": 128_001, "tie_word_embeddings": False,
}  # fmt: skip
_CLIP_L_14_336: dict[str, Any] = {
    "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
    "image_size": 336, "patch_size": 14, "projection_dim": 768,
}  # fmt: skip

KNOWN_LANGUAGE_MODELS = {
    "meta-llama/Meta-Llama-3-8B": _LLAMA_3_8B,
    "meta-llama/Meta-Llama-3-8B-Instruct": _LLAMA_3_8B,
}
"""Shapes of language models whose config needs no download (Grattafiori et al. 2024, arXiv 2407.21783, table 3)."""
KNOWN_VISION_TOWERS = {"openai/clip-vit-large-patch14-336": _CLIP_L_14_336}
"""Shapes of vision towers whose config needs no download (Radford et al. 2021, arXiv 2103.00020, table 19)."""

NUM_NEW_TOKENS = 2
"""`<image>` and `<pad>`, which a language model of text does not have."""


def captioner_shape(config: FineTuneConfig) -> LlavaConfig:
    """Return the config of the captioner that a run trains.

    Raises UserError when a model is neither a folder with a config.json nor one whose shape is known here.
    """
    tower = _vision_shape(config.vision_tower)
    return LlavaConfig(
        vision_config=tower.to_dict(),
        text_config=_grown(config, language_shape(config)).to_dict(),
        image_token_index=0,
        vision_feature_layer=VISION_FEATURE_LAYER,
        # Of CLIP's tokens the first stands for the class; SigLIP's are patches alone.
        vision_feature_select_strategy="default" if tower.model_type == "clip_vision_model" else "full",
        projector_hidden_act="gelu",
        image_seq_length=num_patches(tower),
    )


def language_shape(config: FineTuneConfig) -> Any:
    """Return the config of the language model, with as many rows of embeddings as it comes with."""
    if config.pretrained_language_model is None:
        return small_language_config(config.language_model)
    name = config.pretrained_language_model
    if name in KNOWN_LANGUAGE_MODELS:
        return LlamaConfig(**KNOWN_LANGUAGE_MODELS[name])
    return _read_config(Path(name), where="pretrained_language_model", known=KNOWN_LANGUAGE_MODELS)


def on_meta(shape: LlavaConfig) -> LlavaForConditionalGeneration:
    """Return a captioner of a shape, all of whose tensors are without storage."""
    with torch.device("meta"), no_init_weights():
        return LlavaForConditionalGeneration(shape)


def _grown(config: FineTuneConfig, language: Any) -> Any:
    """Give a pretrained model's table the rows that it has once `<image>` and `<pad>` are in it."""
    if config.pretrained_language_model is not None:
        language.vocab_size = -(-(language.vocab_size + NUM_NEW_TOKENS) // ROW_MULTIPLE) * ROW_MULTIPLE
    return language


def _vision_shape(tower: Path) -> Any:
    if str(tower) in KNOWN_VISION_TOWERS:
        return CLIPVisionConfig(**KNOWN_VISION_TOWERS[str(tower)])
    config = _read_config(tower, where="vision_tower", known=KNOWN_VISION_TOWERS)
    return getattr(config, "vision_config", config)


def _read_config(folder: Path, *, where: str, known: dict[str, Any]) -> Any:
    if not (folder / "config.json").is_file():
        wanted = f"a folder with a config.json, or one of {', '.join(known)}"
        raise UserError("the shape of this model is not known", where=where, found=str(folder), wanted=wanted)
    return AutoConfig.from_pretrained(folder)
