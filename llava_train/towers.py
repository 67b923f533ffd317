"""Vision towers that a captioner can see with: CLIP's and SigLIP's, out of a whole model or saved on their own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import CLIPModel, CLIPVisionModel, SiglipModel, SiglipVisionModel

from llava_train.hub import local_folder
from llava_train.parts import num_patches
from runtime.errors import UserError
from runtime.json_files import read_object
from runtime.pretrained import load_pretrained, lossless_dtype

_CLASSES: Mapping[str, Any] = {
    "clip": CLIPModel,
    "clip_vision_model": CLIPVisionModel,
    "siglip": SiglipModel,
    "siglip_vision_model": SiglipVisionModel,
}
"""How to load each type of folder."""
TOWER_TYPES = tuple(name for name in _CLASSES if name.endswith("_vision_model"))
"""Types that the tower inside a captioner may have."""


def load_tower(model: Path, *, max_length_tokens: int) -> Any:
    """Return a trained vision tower, a class that transformers names anew now and then, in the type it is stored in.

    SigLIP's pooling head, which no captioner reads, is left out of its config. Raises UserError when `model` is no
    transformers directory of such a tower, or an image alone fills the longest sequence.
    """
    folder = local_folder(model)
    config_file = folder / "config.json"
    found = str(read_object(config_file).get("model_type")) if config_file.is_file() else "clip"
    whole = load_pretrained(
        _CLASSES.get(found, CLIPModel), folder, model_types=list(_CLASSES), dtype=lossless_dtype(folder)
    )
    tower = getattr(whole, "vision_model", whole)
    if hasattr(tower.config, "vision_use_head"):
        tower.config.vision_use_head = False
    _require_room_for_text(num_patches(tower.config), max_length_tokens)
    return tower


def has_class_token(tower: Any) -> bool:
    """Tell whether a token stands before those of the patches, as in CLIP."""
    return hasattr(tower.embeddings, "class_embedding")


def tower_weights(tower: Any) -> dict[str, torch.Tensor]:
    """Return the weights that a captioner takes over: all but a pooling head."""
    return {name: weight for name, weight in tower.state_dict().items() if not name.startswith("head.")}


def _require_room_for_text(num_image_tokens: int, max_length_tokens: int) -> None:
    if num_image_tokens >= max_length_tokens:
        raise UserError(
            f"no room for text beside the {num_image_tokens} tokens of one image",
            where="max_length_tokens",
            found=max_length_tokens,
            wanted=f"more than {num_image_tokens}",
            fix="Raise it and language_model.max_length_tokens, or take a vision tower of fewer patches",
        )
