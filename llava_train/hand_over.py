"""The captioner as it passes from phase to phase."""

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from torch import nn

from runtime.checkpoints import load_weights

Captioner = TypeVar("Captioner", bound=nn.Module)


class HandOver(Generic[Captioner]):
    """Hold the captioner between phases: one object trained in place, or built anew from the last phase's weights.

    Training that shares the weights out among ranks leaves no usable object behind.
    """

    def __init__(self, first: Captioner, build: Callable[[], Captioner]):
        """`first` is the captioner before the first phase; `build` returns one like it."""
        self._llava: Captioner | None = first
        self._build = build
        self._weights: Path | None = None

    def llava(self) -> Captioner:
        """Return the captioner with the weights of the last finished phase."""
        if self._llava is None:
            # What sharded training leaves holds itself in circles; it goes before there is a second captioner.
            gc.collect()
            self._llava = self._build()
            if self._weights is not None:
                load_weights(self._weights, self._llava)
        return self._llava

    def load(self, weights: Path) -> None:
        """Give the captioner the weights that a finished phase left."""
        load_weights(weights, self.llava())
        self._weights = weights

    def finish_phase(self, weights: Path, *, is_usable: bool) -> None:
        """Note what a phase left on disk, and whether the object that it trained can train on."""
        self._weights = weights
        if not is_usable:
            self.drop()

    def drop(self) -> None:
        """Let go of an object that can't train on; the next one has the weights of the last finished phase."""
        self._llava = None
