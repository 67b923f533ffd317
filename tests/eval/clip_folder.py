"""A very small open_clip directory with random weights, as a user might have one."""

import json
from pathlib import Path

import open_clip
import torch
from safetensors.torch import save_file

MODEL = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}
PREPROCESS = {"mean": [0.48] * 3, "std": [0.26] * 3, "interpolation": "bicubic", "resize_mode": "shortest"}


def write_clip(folder: Path, seed: int = 0) -> Path:
    """Write the directory; the same seed gives the same weights."""
    folder.mkdir(parents=True)
    torch.manual_seed(seed)
    model = open_clip.CLIP(**MODEL)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": MODEL, "preprocess_cfg": PREPROCESS}))
    return folder
