"""Which CLIP models there are, by name. Data only."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from clip_train.model_files import ModelFile, model_names, read_model_file
from clip_train.normalisation import IMAGENET_MEAN, IMAGENET_STD, OPENAI_MEAN, OPENAI_STD
from runtime.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Transformer:
    """Say how wide and deep a tower is."""

    width: int
    layers: int
    head_width: int = 32


@dataclass(frozen=True, kw_only=True)
class TimmTower:
    """Name a tower of timm's, with average pooling and a linear projection."""

    name: str


VISION: dict[str, TimmTower] = {
    "s": TimmTower(name="test_byobnet"),
    "b": TimmTower(name="test_resnet"),
    "l": TimmTower(name="resnet10t"),
}
"""Table 2's S, B and L in miniature: 0.2, 0.4 and 5.0 million parameters. The paper's are ViTs; a ViT of this size was
not seen to learn shapes in the time there is, in fewer tries than the convolutional towers had. OpenAI CLIP's ResNets
of 0.4 and 1.4 million parameters were slower at it too."""
TEXT: dict[str, Transformer] = {
    "small": Transformer(width=32, layers=1),
    "base": Transformer(width=64, layers=1),
    "large": Transformer(width=96, layers=2),
    "huge": Transformer(width=160, layers=3),
}
"""Table 2's text towers in miniature: widths divided by eight or less, fewer layers. With two layers of 96 the text
tower takes more than half of a b_base run's time, which is better spent on samples. A "larger text tower" is the next
row's, as in Table 4."""


@dataclass(frozen=True, kw_only=True)
class ModelPreset:
    """Say everything about a model that the data do not decide."""

    family: Literal["recap", "openai"]
    """Which tokenizer and conventions: recap is the paper's CLIP (WordPiece, tanh-GELU in the text tower), openai is
    OpenAI's (byte-pair encoding, ViT with a class token; also exported for transformers).

    Both read text under a causal mask and pool its end. The paper's towers have no mask and pool the last slot, so that
    padding is part of the computation: at this size 80 columns for an alt-text of 12 tokens, most of a run's time.
    """
    vision: Transformer | TimmTower
    text: Transformer
    embed_dim: int
    patch_size_px: int
    """Side of a patch, or of what the tower reduces to one position."""
    image_mean: tuple[float, float, float] = IMAGENET_MEAN
    image_std: tuple[float, float, float] = IMAGENET_STD

    @property
    def strips_end(self) -> bool:
        """Tell whether the token that ends a text is taken off again: no, it is what these models pool."""
        return False

    @property
    def preprocess_cfg(self) -> Mapping[str, Any]:
        """Return open_clip's `preprocess_cfg`: shortest side to size, central square, bicubic as in training."""
        return {
            "mean": list(self.image_mean),
            "std": list(self.image_std),
            "interpolation": "bicubic",
            "resize_mode": "shortest",
        }


_EMBED_DIM = 128


def _recap(vision: str, text: str) -> ModelPreset:
    return ModelPreset(family="recap", vision=VISION[vision], text=TEXT[text], embed_dim=_EMBED_DIM, patch_size_px=16)


MODELS: dict[str, ModelPreset] = {
    **{
        f"{vision}_{text}": _recap(vision, text)
        for vision, text in [
            ("s", "small"), ("s", "base"), ("b", "base"), ("b", "large"), ("l", "large"), ("l", "huge"),
        ]
    },
    "foundation": ModelPreset(
        family="openai",
        # The captioner reads the last layer but one: it gets four.
        vision=Transformer(width=128, layers=5),
        text=Transformer(width=128, layers=3),
        embed_dim=128,
        patch_size_px=16,
        image_mean=OPENAI_MEAN,
        image_std=OPENAI_STD,
    ),
}  # fmt: skip
"""Every model by the name that `--model` takes."""


def find_preset(name: str) -> ModelPreset:
    """Return a miniature model; raise UserError naming the models there are."""
    if name not in MODELS:
        raise UserError(
            "unknown model", where="model", found=name, wanted=f"one of {', '.join([*MODELS, *model_names()])}"
        )
    return MODELS[name]


def find_model(name: str) -> ModelPreset | ModelFile:
    """Return a miniature model, or one of a file: by its name in `configs/clip/models/`, or its path.

    Raises UserError naming the models there are.
    """
    return (None if name in MODELS else read_model_file(name)) or find_preset(name)
