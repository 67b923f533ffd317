"""What a decoding engine is asked, how it is set up, and what it gives back."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch

from llava_train.generation import Answer
from runtime.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Question:
    """One prompt about a picture, and how to answer it."""

    token_ids: tuple[int, ...]
    """The rendered prompt, one token for every patch of the picture."""
    top_k: int = 1
    """Each token is drawn from this many likeliest ones; 1 takes the likeliest."""
    temperature: float = 1.0
    """Divides the logits before a draw."""
    seed: int = 0
    """A draw depends on this, on the place in the answer and on the token: never on the company of other rows."""


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One picture and the questions about it."""

    ticket: int
    pixels: Any
    """The prepared picture, uint8 (channel, height, width), a numpy array."""
    questions: tuple[Question, ...]
    """Questions begin with the same tokens up to the picture's last, so that its work is done once for all of them."""


@dataclass(frozen=True, kw_only=True)
class Said:
    """The answers to one ask's questions, in their order."""

    ticket: int
    answers: tuple[Answer, ...]


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """How many rows are decoded side by side, until when, and how often the host looks at them."""

    max_new_tokens: int
    """Most tokens of an answer."""
    stop_ids: tuple[int, ...]
    """Tokens that end an answer; without any, every answer has all its tokens."""
    num_slots: int = 64
    """Answers decoded side by side: pictures times questions about each."""
    pictures_per_prefill: int = 16
    """Pictures whose prompts are computed together."""
    steps_per_check: int = 1
    """Tokens decoded between two looks at which answers have ended; a device that runs ahead of the host wants some."""
    refill: bool = True
    """Let a picture take over a slot as soon as it is free, beside answers that go on. Otherwise new pictures begin
    once all answers have ended: rows of one age look at no more places than they have, which a CPU gains more by.
    """
    max_top_k: int = 1
    """Largest `top_k` of any question."""
    cuda_graphs: bool = True
    """Replay a decoding step as one recorded graph, on a GPU; a CPU has no such thing."""

    def __post_init__(self) -> None:
        for name in ("max_new_tokens", "num_slots", "pictures_per_prefill", "steps_per_check", "max_top_k"):
            if getattr(self, name) < 1:
                raise UserError("out of range", where=name, found=getattr(self, name), wanted=">= 1")


def settings_for(
    device: torch.device, *, max_new_tokens: int, stop_ids: Sequence[int], num_slots: int, max_top_k: int = 1
) -> EngineSettings:
    """Return the settings that suit a device."""
    on_gpu = device.type == "cuda"
    return EngineSettings(
        max_new_tokens=max_new_tokens,
        stop_ids=tuple(stop_ids),
        num_slots=num_slots,
        steps_per_check=4 if on_gpu else 1,
        refill=on_gpu,
        max_top_k=max_top_k,
    )


@runtime_checkable
class Engine(Protocol):
    """Answers questions about pictures."""

    def take_seconds(self) -> dict[str, float]:
        """Return the seconds in "prefill" and "decode" since the last call, as far as they can be told apart."""

    def answer(self, asks: Sequence[Ask]) -> list[Said]:
        """Answer one batch of at most `num_slots` questions, in its order.

        Shapes follow from the asks' places and lengths, or change where no bit depends on them: not one bit of an
        answer owes anything to what the other asks hold.
        """

    def run(self, asks: Iterator[Ask]) -> Iterator[Said]:
        """Answer a stream, in any order: the next picture takes over the slot of an answer that has ended.

        `asks` is read by a thread of its own, so that a slow producer holds no answer up. After an error nothing that
        was under way is answered; the engine may be used again.
        """
