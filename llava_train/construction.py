"""Which published captioners our network computes rightly, read from their config."""

from pathlib import Path

from llava_train.towers import TOWER_TYPES
from runtime.errors import UserError
from runtime.json_files import read_object

DEFAULT_TOWER_TYPE = "clip_vision_model"
"""What transformers takes a tower for whose config does not say."""


def require_known_construction(folder: Path) -> None:
    """Raise UserError unless a LLaVA directory's config describes what `llava_train.network` computes.

    That is a CLIP tower without its class token, or a SigLIP tower, which has none, read at one layer counted from its
    end. Folders without a config, or of another type, are left to the loader.
    """
    if not (folder / "config.json").is_file():
        return
    config = read_object(folder / "config.json")
    if config.get("model_type") != "llava":
        return
    tower_type = (config.get("vision_config") or {}).get("model_type", DEFAULT_TOWER_TYPE)
    if tower_type not in TOWER_TYPES:
        _refuse(folder, "vision_config.model_type", tower_type, " or ".join(TOWER_TYPES))
    strategy = config.get("vision_feature_select_strategy", "default")
    wanted = "default" if tower_type == DEFAULT_TOWER_TYPE else "full"
    if strategy != wanted:
        _refuse(folder, "vision_feature_select_strategy", strategy, wanted)
    layer = config.get("vision_feature_layer", -2)
    if not isinstance(layer, int) or layer >= 0:
        _refuse(folder, "vision_feature_layer", layer, "one layer counted from the last, such as -2")


def _refuse(folder: Path, field: str, found: object, wanted: str) -> None:
    raise UserError(
        f"this kind of captioner can't be run: {field}",
        where=folder / "config.json",
        found=found,
        wanted=wanted,
        fix="Run it with transformers, or take a captioner built like LLaVA-1.5",
    )
