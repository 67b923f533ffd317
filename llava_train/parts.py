"""The parts of a transformers LLaVA, under names and types that its several generations agree on."""

from typing import Any, cast

from torch import nn
from transformers import CLIPVisionConfig, LlamaConfig, LlavaForConditionalGeneration


def vision_config(llava: LlavaForConditionalGeneration) -> CLIPVisionConfig:
    """Return the shape of the vision tower."""
    return cast(CLIPVisionConfig, llava.config.vision_config)


def language_config(llava: LlavaForConditionalGeneration) -> LlamaConfig:
    """Return the shape of the language model."""
    return cast(LlamaConfig, llava.config.text_config)


def num_image_tokens(llava: LlavaForConditionalGeneration) -> int:
    """Return the number of patches of one image, each of which takes a token's place."""
    return num_patches(vision_config(llava))


def num_patches(config: CLIPVisionConfig) -> int:
    """Return the number of patches that a vision tower cuts one image into."""
    return (cast(int, config.image_size) // cast(int, config.patch_size)) ** 2


def inner_tower(llava: LlavaForConditionalGeneration) -> Any:
    """Return the vision transformer itself; transformers 5.23 dropped a level around it."""
    return getattr(llava.model.vision_tower, "vision_model", llava.model.vision_tower)


def vision_modules(llava: LlavaForConditionalGeneration) -> tuple[nn.Module, nn.Module, list[nn.Module]]:
    """Return the tower's embeddings, its first norm, and its layers up to the feature layer (-2: all but the last)."""
    tower = inner_tower(llava)
    num_layers = vision_config(llava).num_hidden_layers + 1 + cast(int, llava.config.vision_feature_layer)
    return tower.embeddings, tower.pre_layrnorm, list(tower.encoder.layers[:num_layers])
