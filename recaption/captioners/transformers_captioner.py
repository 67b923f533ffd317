"""The seam to captioners: pictures with keys in, captions with the same keys out."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from PIL import Image

from runtime.device import DeviceName

ID_LENGTH = 16
"""Hex digits of a captioner's and a prompt's identity."""
IDENTITY_PATTERNS = ("*.json", "*.jinja", "*.safetensors", "*.model")
"""Files of a model directory that decide what it says."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One decoded RGB picture and the name it keeps all the way to its caption."""

    key: str
    image: Image.Image


@dataclass(frozen=True, kw_only=True)
class Caption:
    """What a captioner said about one picture, and how it came to an end."""

    key: str
    text: str
    finish_reason: Literal["stop", "length"]
    num_tokens: int
    """Tokens of the text, without the stop token."""
    mean_logprob: float
    """Mean log-probability of the tokens, the stop token included."""


@runtime_checkable
class Captioner(Protocol):
    """Anything that captions pictures under a prompt fixed when it was opened."""

    @property
    def captioner_id(self) -> str:
        """Return what identifies the model; equal ids give equal captions under equal settings."""

    def caption(self, pictures: Iterable[Picture]) -> list[Caption]:
        """Return one caption per picture, in order, under the picture's key; pictures are decoded as they are taken."""


class TransformersCaptioner:
    """Caption with a LLaVA directory loaded by transformers, on CPU or GPU, greedily."""

    def __init__(
        self,
        model: Path,
        *,
        prompt: str,
        max_new_tokens: int,
        batch_size: int,
        precision: Literal["fp32", "bf16"] = "bf16",
        device: DeviceName = "auto",
    ):
        import torch

        from llava_train.model import load_captioner

        self.captioner_id = identify_model(model)
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self._captioner = load_captioner(model, device=device, precision=dtype)
        self._prompt = prompt
        self._max_new_tokens = max_new_tokens
        self._batch_size = batch_size

    def caption(self, pictures: Iterable[Picture]) -> list[Caption]:
        """Return one caption per picture, in order, under the picture's key; only their small squares are kept."""
        pixels = {picture.key: self._captioner.geometry.prepare(picture.image) for picture in pictures}
        answers = self._captioner.answer_pixels(
            list(pixels.values()),
            [self._prompt] * len(pixels),
            max_new_tokens=self._max_new_tokens,
            batch_size=self._batch_size,
        )
        return [
            Caption(
                key=key,
                text=self._captioner.text(answer),
                finish_reason=answer.finish_reason,
                num_tokens=len(answer.token_ids),
                mean_logprob=answer.mean_logprob,
            )
            for key, answer in zip(pixels, answers, strict=True)
        ]


def identify_model(folder: Path) -> str:
    """Return a digest of the files that decide what a model directory says: weights, configs, tokenizer, template."""
    digest = hashlib.sha256()
    for path in sorted({path for pattern in IDENTITY_PATTERNS for path in folder.glob(pattern)}):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:ID_LENGTH]


def identify_prompt(prompt: str) -> str:
    """Return a digest of a prompt."""
    return hashlib.sha256(prompt.encode()).hexdigest()[:ID_LENGTH]
