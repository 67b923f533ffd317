"""Contrastive models by the name a user gives them: a directory, a name and a checkpoint, or one on the Hub."""

import hashlib
import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import open_clip
import torch
from jaxtyping import Float, Int
from open_clip.model import CLIP, CustomTextCLIP
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor

from clip_train.export import CONFIG_NAME
from clip_train.model import ClipEncoder
from eval.rows import Manifest
from eval.suite import weights_sha256
from runtime.errors import UserError
from runtime.json_files import read_object

Precision = Literal["float32", "bfloat16", "float16"]
_HALVES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
LOCAL = "local-dir:"
HUB = "hf-hub:"


@dataclass(frozen=True, kw_only=True)
class ClipModel:
    """A contrastive model that is measured."""

    spec: str
    """As the user named it."""
    encoder: ClipEncoder
    precision: Precision

    @property
    def identity(self) -> str:
        """Return a hash of all that decides an embedding: weights, transform, tokenizer, precision, kind of device."""
        facts = [self.encoder.checkpoint_sha256, self.transform, self.tokenizer, self.precision, self._device]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    @property
    def transform(self) -> str:
        """Return what is done to a picture, in words."""
        steps = (str(step) for step in self.encoder.preprocess.transforms)
        # A function among the steps says its address in memory.
        return "; ".join(" ".join(step.split(" at 0x")[0].split()) for step in steps)

    @property
    def tokenizer(self) -> str:
        """Return the tokenizer's kind, context length and vocabulary."""
        tokenizer = self.encoder.tokenizer
        probe = tokenizer(["A probe, of every 1st kind: it's naïve."]).tolist()
        return f"{type(tokenizer).__name__}, {tokenizer.context_length} tokens, probe {probe}"

    @property
    def facts(self) -> Manifest:
        """Return the model's part of the protocol."""
        return {
            "model": self.spec,
            "context_length_tokens": int(self.encoder.tokenizer.context_length),
            "image_transform": self.transform,
            "precision": self.precision,
        }

    def token_ids(self, texts: Sequence[str]) -> Int[np.ndarray, "texts context"]:
        """Return the ids that the text tower sees."""
        return self.encoder.tokenizer(list(texts)).numpy()

    def prepare(self, image: Image.Image) -> Float[Tensor, "3 height width"]:
        """Return a picture as the image tower sees it."""
        return self.encoder.preprocess(image)

    def encode_pictures(self, prepared: Sequence[Tensor]) -> Float[np.ndarray, "pictures width"]:
        """Return unit features of one batch of prepared pictures."""
        with self._autocast():
            return self.encoder.encode_prepared(torch.stack(list(prepared))).numpy()

    def encode_texts(self, texts: Sequence[str]) -> Float[np.ndarray, "texts width"]:
        """Return unit features of one batch of texts."""
        with self._autocast():
            return self.encoder.encode_texts(texts, len(texts)).numpy()

    @property
    def _device(self) -> str:
        return self.encoder.device.type

    def _autocast(self) -> Any:
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(self._device, dtype=_HALVES[self.precision])


def load_clip(spec: str, device: torch.device, precision: Precision = "float32") -> ClipModel:
    """Load `local-dir:FOLDER` (or a folder), `hf-hub:ORG/NAME` or `NAME,PRETRAINED`, the latter a tag or a file.

    Raises UserError for a specification that is none of them, for a model without a text tower, and for one that
    open_clip can't load.
    """
    name, pretrained = _parsed(spec)
    try:
        model, _, preprocess = open_clip.create_model_and_transforms(name, pretrained=pretrained, device=str(device))
        tokenizer = open_clip.get_tokenizer(name)
    except (RuntimeError, ValueError, KeyError, TypeError, OSError, SafetensorError) as error:
        reason = " ".join(" ".join(str(error).splitlines()[:2]).split())
        raise UserError("the model cannot be loaded", where="model", found=f"{spec} ({reason})") from error
    if not isinstance(model, CLIP | CustomTextCLIP):
        wanted = "an open_clip model of two towers"
        raise UserError("a model of another kind", where=f"model {spec}", found=type(model).__name__, wanted=wanted)
    encoder = ClipEncoder(
        model=model.eval(),
        preprocess=preprocess,
        tokenizer=tokenizer,
        device=device,
        checkpoint_sha256=_checkpoint_sha256(name, model),
    )
    return ClipModel(spec=spec, encoder=encoder, precision=precision)


def weights_in_memory_sha256(model: torch.nn.Module) -> str:
    """Hash all weights by name; the same for one model in whatever file it came."""
    digest = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
        digest.update(weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _checkpoint_sha256(name: str, model: torch.nn.Module) -> str:
    """Hash a directory's weights as every suite does, so that all rows of one export name one checkpoint."""
    folder = Path(name.removeprefix(LOCAL))
    if name.startswith(LOCAL) and any(folder.rglob("*.safetensors")):
        return weights_sha256(folder)
    return weights_in_memory_sha256(model)


def _parsed(spec: str) -> tuple[str, str | None]:
    """Return what open_clip calls the model and its weights."""
    if spec.startswith(HUB):
        return spec, None
    folder = Path(spec.removeprefix(LOCAL))
    if spec.startswith(LOCAL) or folder.is_dir():
        _check_folder(folder)
        return f"{LOCAL}{folder}", None
    name, comma, pretrained = spec.partition(",")
    if not comma or not pretrained:
        wanted = f"{LOCAL}FOLDER, {HUB}ORG/NAME, or NAME,PRETRAINED with a tag of open_clip's or a file"
        raise UserError("no model by this name", where="model", found=spec, wanted=wanted)
    return name, pretrained


def _check_folder(folder: Path) -> None:
    if not (folder / CONFIG_NAME).is_file():
        fix = "Give the export/ folder of a clip_train run, or another open_clip directory"
        raise UserError("not an open_clip directory", where=folder, found=f"no {CONFIG_NAME}", fix=fix)
    config = read_object(folder / CONFIG_NAME, "model_cfg")["model_cfg"]
    if "text_cfg" not in config:
        wanted = "text_cfg beside vision_cfg: both towers are measured"
        raise UserError("a model without text tower", where=folder / CONFIG_NAME, found=sorted(config), wanted=wanted)
