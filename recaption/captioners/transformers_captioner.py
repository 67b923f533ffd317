"""Caption with a LLaVA directory loaded by transformers, on CPU or GPU."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from PIL import Image

from recaption.captioners import base
from recaption.captioners.identity import identify_model, identify_prompt, identify_settings, package_versions
from recaption.captioners.positions import Place, batches_by_position
from recaption.config import RecaptionConfig
from runtime.device_name import DeviceName

__all__ = ["Caption", "Captioner", "Picture", "TransformersCaptioner", "identify_captioner", "identify_prompt"]


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
    """Answer in batches fixed by the places of rows in their unit."""

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

        self.captioner_id = _captioner_id(model, max_new_tokens, batch_size, precision)
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self._captioner = load_captioner(model, device=device, precision=dtype)
        self._prompt = prompt
        self._max_new_tokens = max_new_tokens
        self._batch_size = batch_size
        self._dummy = self.prepare(Image.new("RGB", (1, 1), self._captioner.geometry.fill))

    @property
    def prepare(self) -> Callable[[Image.Image], Any]:
        """Return what makes the square of uint8 pixels that the vision tower sees, once normalised."""
        return self._captioner.geometry.prepare

    def answer(self, items: Iterator[base.Item]) -> Iterator[base.Result]:
        """Yield a result for every request, batch by batch, in the order in which they came."""
        from recaption.captioners.isolation import answer_batch

        for batch in batches_by_position(items, self._batch_size):
            yield from answer_batch(batch, self._ask)

    def _ask(self, batch: Sequence[Place]) -> list[tuple[base.Caption, ...]]:
        """Answer a batch, with a plain picture in each hole: a healthy row's batch is then as large as ever."""
        requests = [place for place in batch if isinstance(place, base.Request)]
        pixels = [place.picture if isinstance(place, base.Request) else self._dummy for place in batch]
        by_prompt = []
        for index in range(len(requests[0].prompts)):
            default = requests[0].prompts[index]
            texts = [place.prompts[index] if isinstance(place, base.Request) else default for place in batch]
            by_prompt.append(self._captions(pixels, texts))
        by_place = zip(batch, zip(*by_prompt, strict=True), strict=True)
        return [captions for place, captions in by_place if isinstance(place, base.Request)]

    def _captions(self, pixels: Sequence[Any], prompts: Sequence[str]) -> list[base.Caption]:
        answers = self._captioner.answer_pixels(
            pixels, prompts, max_new_tokens=self._max_new_tokens, batch_size=self._batch_size
        )
        return [
            base.Caption(
                text=self._captioner.text(answer),
                finish_reason=answer.finish_reason,
                num_tokens=len(answer.token_ids),
                mean_logprob=answer.mean_logprob,
            )
            for answer in answers
        ]

    def caption(self, pictures: Iterable[Picture]) -> list[Caption]:
        """Return one caption per picture, in order, under the picture's key; only their small squares are kept."""
        pixels = {picture.key: self.prepare(picture.image) for picture in pictures}
        captions = self._captions(list(pixels.values()), [self._prompt] * len(pixels))
        return [Caption(key=key, **vars(caption)) for key, caption in zip(pixels, captions, strict=True)]


def identify_captioner(config: RecaptionConfig) -> str:
    """Return the id of the captioner that a config opens, without opening it."""
    return _captioner_id(config.model, config.max_new_tokens, config.batch_size, config.precision)


def _captioner_id(model: Path, max_new_tokens: int, batch_size: int, precision: str) -> str:
    settings = {
        "captioner": "transformers",
        "model": identify_model(model),
        "max_new_tokens": max_new_tokens,
        "batch_size": batch_size,
        "precision": precision,
        "versions": package_versions("torch", "transformers"),
    }
    return identify_settings(settings)
