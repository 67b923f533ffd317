"""Write a trained model as a directory that open_clip loads with `local-dir:`, offline."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from open_clip.model import CLIP
from safetensors.torch import save_file

from clip_train.export_hf import export_transformers
from clip_train.presets import ModelPreset
from runtime.atomic import atomic_directory, write_json

WEIGHTS_NAME = "open_clip_model.safetensors"
CONFIG_NAME = "open_clip_config.json"


def export_model(
    model: CLIP, preset: ModelPreset, config: Mapping[str, Any], tokenizer_folder: Path, folder: Path
) -> None:
    """Write `folder` whole: weights, config, tokenizer, and for OpenAI-style models `hf/` for transformers.

    `config` is the open_clip `model_cfg` that the model was built from.
    """
    if folder.exists():
        shutil.rmtree(folder)
    with atomic_directory(folder) as partial:
        shutil.copytree(tokenizer_folder, partial, dirs_exist_ok=True)
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
        save_file(state, partial / WEIGHTS_NAME, metadata={"format": "pt"})
        write_json(partial / CONFIG_NAME, {"model_cfg": dict(config), "preprocess_cfg": preprocess_config(preset)})
        if preset.family == "openai":
            export_transformers(model, preset, config, tokenizer_folder, partial / "hf")


def preprocess_config(preset: ModelPreset) -> dict[str, Any]:
    """Return open_clip's `preprocess_cfg`: shortest side to size, central square, bicubic as in training."""
    return {
        "mean": list(preset.image_mean),
        "std": list(preset.image_std),
        "interpolation": "bicubic",
        "resize_mode": "shortest",
    }
