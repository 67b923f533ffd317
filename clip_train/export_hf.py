"""Write an OpenAI-style CLIP as a transformers folder: CLIPModel, CLIPTokenizer, CLIPImageProcessor."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from clip_train.presets import ModelPreset

_BLOCK_NAMES = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_NAMES = {
    "logit_scale": "logit_scale",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
}
_TRANSPOSED = {"visual.proj": "visual_projection.weight", "text_projection": "text_projection.weight"}
_BLOCK = re.compile(r"(visual\.)?transformer\.resblocks\.(\d+)\.(.+?)\.?(in_proj_)?(weight|bias)")


def to_transformers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename (and where the layouts differ, split or transpose) open_clip's CLIP weights to transformers' names."""
    converted: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name in _NAMES:
            converted[_NAMES[name]] = tensor
        elif name in _TRANSPOSED:
            converted[_TRANSPOSED[name]] = tensor.T
        else:
            converted |= _convert_block(name, tensor)
    return {name: tensor.contiguous() for name, tensor in converted.items()}


def _convert_block(name: str, tensor: Tensor) -> dict[str, Tensor]:
    match = _BLOCK.fullmatch(name)
    assert match is not None, f"no transformers name for {name}"
    visual, index, part, packed, kind = match.groups()
    layer = f"{'vision' if visual else 'text'}_model.encoder.layers.{index}"
    if packed is None:
        return {f"{layer}.{_BLOCK_NAMES[part]}.{kind}": tensor}
    return {
        f"{layer}.self_attn.{projection}_proj.{kind}": piece
        for projection, piece in zip("qkv", tensor.chunk(3), strict=True)
    }


def export_transformers(
    weights: Mapping[str, Tensor],
    preset: ModelPreset,
    config: Mapping[str, Any],
    tokenizer_folder: Path,
    folder: Path,
) -> None:
    """Write the weights of an OpenAI-style CLIP, whose open_clip `model_cfg` is `config`, to `folder`."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(tokenizer_folder)
    size_px = config["vision_cfg"]["image_size"]
    vision = _tower_config(config["vision_cfg"], preset) | {
        "image_size": size_px, "patch_size": config["vision_cfg"]["patch_size"],
    }  # fmt: skip
    text = _tower_config(config["text_cfg"], preset) | {
        "vocab_size": config["text_cfg"]["vocab_size"],
        "max_position_embeddings": config["text_cfg"]["context_length"],
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    hf_config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=preset.embed_dim)
    hf_model = CLIPModel(hf_config)
    hf_model.load_state_dict(to_transformers(weights), strict=True)
    hf_model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    CLIPImageProcessor(
        size={"shortest_edge": size_px},
        crop_size={"height": size_px, "width": size_px},
        image_mean=list(preset.image_mean),
        image_std=list(preset.image_std),
    ).save_pretrained(folder)


def _tower_config(tower: Mapping[str, Any], preset: ModelPreset) -> dict[str, Any]:
    width = tower["width"]
    return {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": tower["layers"],
        "num_attention_heads": tower.get("heads", width // tower.get("head_width", width)),
        "hidden_act": "gelu",
        "projection_dim": preset.embed_dim,
    }
