"""The parts of a transformers LLaVA, under names and types that its several generations agree on."""

from typing import Any, cast

from torch import nn
from transformers import CLIPVisionConfig, LlavaForConditionalGeneration, SiglipVisionConfig

VisionConfig = CLIPVisionConfig | SiglipVisionConfig


def vision_config(llava: LlavaForConditionalGeneration) -> VisionConfig:
    """Return the shape of the vision tower."""
    return cast(VisionConfig, llava.config.vision_config)


def language_config(llava: LlavaForConditionalGeneration) -> Any:
    """Return the shape of the language model, each kind of which has a class of its own."""
    return llava.config.text_config


def num_image_tokens(llava: LlavaForConditionalGeneration) -> int:
    """Return the number of patches of one image, each of which takes a token's place."""
    return num_patches(vision_config(llava))


def image_tokens(llava: LlavaForConditionalGeneration) -> tuple[int, ...]:
    """Return the tokens in whose places the patches of one image go."""
    return (int(llava.config.image_token_id),) * num_image_tokens(llava)


def num_patches(config: VisionConfig) -> int:
    """Return the number of patches that a vision tower cuts one image into."""
    return (cast(int, config.image_size) // cast(int, config.patch_size)) ** 2


def num_class_tokens(llava: LlavaForConditionalGeneration) -> int:
    """Return how many tokens of the tower stand before the patches: one in CLIP, none in SigLIP."""
    return int(llava.config.vision_feature_select_strategy == "default")


def inner_tower(llava: LlavaForConditionalGeneration) -> Any:
    """Return the vision transformer itself; transformers 5.23 dropped a level around it."""
    return getattr(llava.model.vision_tower, "vision_model", llava.model.vision_tower)


def vision_modules(llava: LlavaForConditionalGeneration) -> tuple[nn.Module, nn.Module, list[nn.Module]]:
    """Return the tower's embeddings, its first norm, and its layers up to the feature layer (-2: all but the last).

    SigLIP has no norm before its layers.
    """
    tower = inner_tower(llava)
    num_layers = vision_config(llava).num_hidden_layers + 1 + cast(int, llava.config.vision_feature_layer)
    first_norm = getattr(tower, "pre_layrnorm", nn.Identity())
    return tower.embeddings, first_norm, list(tower.encoder.layers[:num_layers])
