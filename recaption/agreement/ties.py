"""Where two answers part, and how close the model was to saying the other: the logits of their first unlike tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from llava_train.hub import local_folder
from llava_train.model import LoadedCaptioner, load_captioner
from runtime.device_name import DeviceName

END = "(end)"
"""Stands for a stop token."""


@dataclass(frozen=True, kw_only=True)
class Parting:
    """The first token in which two answers differ."""

    num_shared_tokens: int
    token: str
    other_token: str
    logit_gap: float
    """How far apart the logits of the two tokens are, in float32, after the tokens that both answers share."""
    rank: int
    """Place of the less likely of the two among all tokens, 1 for the likeliest; of a tie it is 2."""

    def describe(self) -> str:
        """Return one line."""
        parted = f"{self.token!r} or {self.other_token!r} after {self.num_shared_tokens} tokens"
        return f"{parted}, logits {self.logit_gap:.2g} apart, the second is the model's choice number {self.rank}"


class Partings:
    """Find where answers part, under the model that gave them, in float32."""

    def __init__(self, model: Path, device: DeviceName):
        self._captioner: LoadedCaptioner = load_captioner(local_folder(model), device=device, precision=torch.float32)

    def prepare(self, image: Any) -> UInt8[np.ndarray, "channel height width"]:
        """Return an RGB picture as the model sees it."""
        return self._captioner.geometry.prepare(image)

    def find(
        self, pixels: UInt8[np.ndarray, "channel height width"], prompt: str, text: str, other_text: str
    ) -> Parting | None:
        """Return where two answers to a prompt part; None where they are the same tokens."""
        ids, other_ids = (self._captioner.tokenizer.encode(one, add_special_tokens=False) for one in (text, other_text))
        place = _first_difference(ids, other_ids)
        if place is None:
            return None
        logits = self._logits(pixels, [*self._captioner.prompt_ids(prompt), *ids[:place]])
        first, second = (self._next_token(logits, one, place) for one in (ids, other_ids))
        values = logits[[first, second]]
        return Parting(
            num_shared_tokens=place,
            token=self._shown(first),
            other_token=self._shown(second),
            logit_gap=float((values[0] - values[1]).abs()),
            rank=int((logits >= values.min()).sum()),
        )

    @torch.inference_mode()
    def _logits(self, pixels: np.ndarray, ids: Sequence[int]) -> Float[Tensor, " vocabulary"]:
        captioner = self._captioner
        pixel_values = captioner.normaliser(torch.from_numpy(pixels)[None].to(captioner.device))
        input_ids = torch.tensor([list(ids)], device=captioner.device)
        logits: Tensor = captioner.llava(input_ids=input_ids, pixel_values=pixel_values, logits_to_keep=1).logits
        return logits[0, -1].float().cpu()

    def _next_token(self, logits: Tensor, ids: Sequence[int], place: int) -> int:
        """Return an answer's token at a place; where it has ended, its likeliest stop token."""
        if place < len(ids):
            return int(ids[place])
        return max(self._captioner.stop_ids, key=lambda stop: float(logits[stop]))

    def _shown(self, token: int) -> str:
        return END if token in self._captioner.stop_ids else str(self._captioner.tokenizer.decode([token]))


def _first_difference(ids: Sequence[int], other_ids: Sequence[int]) -> int | None:
    """Return the first place in which two sequences differ, or in which only one of them goes on."""
    for place, (one, other) in enumerate(zip(ids, other_ids, strict=False)):
        if one != other:
            return place
    return None if len(ids) == len(other_ids) else min(len(ids), len(other_ids))
