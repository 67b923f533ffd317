"""Write a trained model as a directory that open_clip loads with `local-dir:`, offline."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from clip_train.export_hf import export_transformers
from clip_train.model_files import ModelFile
from clip_train.presets import ModelPreset
from runtime.atomic import atomic_directory, write_json

WEIGHTS_NAME = "open_clip_model.safetensors"
CONFIG_NAME = "open_clip_config.json"
CARD_NAME = "README.md"


def export_model(
    weights: Mapping[str, Tensor],
    preset: ModelPreset | ModelFile,
    config: Mapping[str, Any],
    tokenizer_folder: Path | None,
    folder: Path,
    card: str = "",
) -> None:
    """Write `folder` whole: weights, config, tokenizer, card, and for the foundation `hf/` for transformers.

    `weights` are named as open_clip's CLIP names them, `config` is its `model_cfg` that the model was built from;
    without a tokenizer's folder open_clip takes the one that it brings.
    """
    if folder.exists():
        shutil.rmtree(folder)
    with atomic_directory(folder) as partial:
        if tokenizer_folder is not None:
            shutil.copytree(tokenizer_folder, partial, dirs_exist_ok=True)
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
        save_file(state, partial / WEIGHTS_NAME, metadata={"format": "pt"})
        write_json(partial / CONFIG_NAME, {"model_cfg": dict(config), "preprocess_cfg": dict(preset.preprocess_cfg)})
        if card:
            (partial / CARD_NAME).write_text(card)
        if isinstance(preset, ModelPreset) and preset.family == "openai":
            assert tokenizer_folder is not None, "the foundation's tokenizer is trained"
            export_transformers(weights, preset, config, tokenizer_folder, partial / "hf")
