"""Requests as vLLM's engine is given them: token ids, and what the model's processor makes of the picture."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from vllm.multimodal.inputs import MultiModalKwargsItem, MultiModalKwargsItems
from vllm.v1.engine.llm_engine import LLMEngine

from llava_train.pixels import Normaliser, PixelGeometry
from recaption.captioners.pictures import FitWithin, as_image

_IMAGE, _PIXELS = "image", "pixel_values"


class EnginePrompts:
    """Render prompts about a picture by vLLM's own processor, or as it would where that is known.

    About a LLaVA's squares the processor's answers differ in the pixels alone, and it takes two milliseconds to find
    the rest out anew. What it makes of the first square is compared with what is made of it here; where both are the
    same to the bit, it is not asked about the others.
    """

    def __init__(self, engine: LLMEngine, token_ids: Callable[[str], list[int]], pixels: PixelGeometry | FitWithin):
        self._engine, self._token_ids = engine, token_ids
        self._normaliser = Normaliser(pixels) if isinstance(pixels, PixelGeometry) else None
        self._squares: _Squares | None = None
        self._num_pictures = 0

    @property
    def knows_squares(self) -> bool:
        """Tell whether squares are rendered without vLLM's processor."""
        return self._squares is not None

    def render(self, picture: Any, prompts: Sequence[str]) -> list[Any]:
        """Return what the engine is given for each of some prompts about one picture."""
        self._num_pictures += 1
        # A name of ours spares a hash of the pixels, and tells the engine which prompts share a picture.
        name = f"picture {self._num_pictures}"
        values = None if self._normaliser is None else self._normaliser(torch.from_numpy(picture)[None])[0]
        return [self._render(picture, values, self._token_ids(prompt), name) for prompt in prompts]

    def _render(self, picture: Any, values: Tensor | None, token_ids: list[int], name: str) -> Any:
        if self._squares is not None and values is not None and self._squares.takes(token_ids):
            return self._squares.fill(token_ids, values, name)
        prompt = {
            "prompt_token_ids": token_ids,
            "multi_modal_data": {_IMAGE: as_image(picture)},
            "multi_modal_uuids": {_IMAGE: [name]},
        }
        (rendered,) = self._engine.renderer.render_cmpl([prompt])
        if values is not None and self._squares is None:
            self._squares = _learn(rendered, token_ids, values)
            # Whoever does otherwise once is not asked to prove it every time.
            self._normaliser = self._normaliser if self.knows_squares else None
        return rendered


@dataclass(frozen=True, kw_only=True)
class _Squares:
    """What vLLM makes of a prompt about any square of pixels, but for the pixels and the words."""

    rendered: Mapping[str, Any]
    mark: int
    """Token that stands for the picture: once before rendering, `num_marks` times after it."""
    num_marks: int

    def takes(self, token_ids: list[int]) -> bool:
        """Tell whether a prompt is about one picture."""
        return token_ids.count(self.mark) == 1

    def fill(self, token_ids: list[int], values: Float[Tensor, "channel height width"], name: str) -> Any:
        """Return a prompt about a square as vLLM renders it."""
        place = token_ids.index(self.mark)
        (item,), (where,) = self.rendered["mm_kwargs"][_IMAGE], self.rendered["mm_placeholders"][_IMAGE]
        pixels = replace(item[_PIXELS], data=values.to(item[_PIXELS].data.dtype))
        return {
            **self.rendered,
            "prompt_token_ids": [*token_ids[:place], *[self.mark] * self.num_marks, *token_ids[place + 1 :]],
            "mm_kwargs": MultiModalKwargsItems({_IMAGE: [MultiModalKwargsItem({_PIXELS: pixels})]}),
            "mm_hashes": {_IMAGE: [name]},
            "mm_placeholders": {_IMAGE: [replace(where, offset=place)]},
        }


def _learn(rendered: Mapping[str, Any], token_ids: list[int], values: Tensor) -> _Squares | None:
    """Return how prompts about squares are rendered; None where vLLM's processor does otherwise than is known here."""
    (item,), (where,) = rendered["mm_kwargs"][_IMAGE], rendered["mm_placeholders"][_IMAGE]
    if set(item) != {_PIXELS} or where.offset >= len(token_ids):
        return None
    squares = _Squares(rendered=rendered, mark=token_ids[where.offset], num_marks=where.length)
    if not squares.takes(token_ids):
        return None
    filled = squares.fill(token_ids, values, "")
    same = all(filled[part] == rendered[part] for part in ("prompt_token_ids", "mm_placeholders"))
    pixels = filled["mm_kwargs"][_IMAGE][0][_PIXELS].data
    return squares if same and torch.equal(pixels, item[_PIXELS].data) else None
