"""Models that open_clip JSON files describe: Table 2's in `configs/clip/models/`, or any other."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from clip_train.normalisation import IMAGENET_MEAN, IMAGENET_STD, OPENAI_MEAN, OPENAI_STD
from runtime.errors import UserError
from runtime.json_files import read_object

FOLDER = Path(__file__).parents[1] / "configs" / "clip" / "models"
"""Where the paper's models lie, each once as released, as trained (`-tanh`) and with `-masked` text."""
SUFFIX = ".json"

_CLIPA_PREPROCESS = {
    "mean": list(IMAGENET_MEAN),
    "std": list(IMAGENET_STD),
    "interpolation": "bilinear",
    "resize_mode": "squash",
}
"""How the released Recap-CLIP reads pictures."""
_OPENAI_PREPROCESS = {
    "mean": list(OPENAI_MEAN),
    "std": list(OPENAI_STD),
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}
"""What open_clip assumes of a config that says nothing."""


@dataclass(frozen=True, kw_only=True)
class ModelFile:
    """An open_clip model config as it was read."""

    file: Path
    """Where it lies."""
    config: Mapping[str, Any]
    """open_clip's `model_cfg`."""
    preprocess: Mapping[str, Any]
    """open_clip's `preprocess_cfg`, empty where the file has none."""

    @property
    def family(self) -> Literal["recap", "openai"]:
        """Return which conventions the file leaves unsaid: with a Hugging Face tokenizer CLIPA's, else OpenAI's."""
        return "recap" if self.config["text_cfg"].get("hf_tokenizer_name") else "openai"

    @property
    def is_plain_vit(self) -> bool:
        """Tell whether the vision tower is open_clip's own ViT, not a ResNet or one of timm's."""
        vision = self.config["vision_cfg"]
        return not vision.get("timm_model_name") and not isinstance(vision.get("layers"), list)

    @property
    def patch_size_px(self) -> int:
        """Return the side of a patch; 1 where the tower is not a plain ViT, whose sizes open_clip checks itself."""
        return int(self.config["vision_cfg"].get("patch_size", 16)) if self.is_plain_vit else 1

    @property
    def strips_end(self) -> bool:
        """Tell whether the token that ends a text is taken off again, as the released Recap-CLIP's is."""
        return bool((self.config["text_cfg"].get("tokenizer_kwargs") or {}).get("strip_sep_token"))

    @property
    def preprocess_cfg(self) -> Mapping[str, Any]:
        """Return open_clip's `preprocess_cfg`: the file's own, or its family's."""
        return {**(_CLIPA_PREPROCESS if self.family == "recap" else _OPENAI_PREPROCESS), **self.preprocess}


def model_names() -> list[str]:
    """Return the names of the files in `configs/clip/models/`."""
    return sorted(file.name.removesuffix(SUFFIX) for file in FOLDER.glob(f"*{SUFFIX}"))


def read_model_file(name: str) -> ModelFile | None:
    """Return the model of a name in `configs/clip/models/` or of a path ending in .json; None for any other name.

    The file holds open_clip's `model_cfg`, or is the `open_clip_config.json` of a published directory. Raises UserError
    when it is missing or says no model.
    """
    file = Path(name) if name.endswith(SUFFIX) else FOLDER / f"{name}{SUFFIX}"
    if not file.is_file():
        if name.endswith(SUFFIX):
            raise UserError("no such model file", where="model", found=name, wanted="an open_clip model config")
        return None
    content = read_object(file)
    config = content.get("model_cfg", content)
    for part in ("embed_dim", "vision_cfg", "text_cfg"):
        if part not in config:
            raise UserError("not an open_clip model config", where=file, found=f"no {part}", wanted=part)
    return ModelFile(file=file, config=config, preprocess=content.get("preprocess_cfg", {}))
