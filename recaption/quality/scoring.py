"""Score the old and the new caption of each row while its picture is at hand: features in batches fixed by places."""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from recaption.engine.clock import StageClock
from recaption.engine.open_units import OpenRow, OpenUnit
from recaption.quality.clip_pixels import BothPictures, ClipPixels

SCORE_DECIMALS = 6


@runtime_checkable
class Scorer(Protocol):
    """What gives features; `clip_scorer.ClipScorer` does."""

    @property
    def pixels(self) -> ClipPixels:
        """Return what makes of a picture what it sees of it."""

    def picture_features(self, pixels: Sequence[UInt8[np.ndarray, "3 size size"]]) -> Float[Tensor, "pictures width"]:
        """Return unit features of prepared pictures."""

    def text_features(self, texts: Sequence[str]) -> Float[Tensor, "texts width"]:
        """Return unit features of texts."""


class Scoring:
    """Takes rows in their order, each with both of its pictures, and gives finished units their scores.

    A batch holds neighbours of one unit, so that a row's score is the same whoever else is at work.
    """

    def __init__(self, scorer: Scorer, batch_size: int, clock: StageClock):
        self._scorer, self._batch_size, self._clock = scorer, batch_size, clock
        self._lock = threading.Lock()
        self._waiting: dict[int, deque[tuple[OpenRow, Any]]] = {}

    def take(self, row: OpenRow) -> None:
        """Take a row's second picture off it; called from any thread, once for each row, in order."""
        if isinstance(row.picture, BothPictures):
            with self._lock:
                self._waiting.setdefault(row.unit.serial, deque()).append((row, row.picture.scored))
            row.picture = row.picture.asked

    def work(self) -> None:
        """Encode the pictures of full batches, so that few wait."""
        with self._lock:
            serials = [serial for serial, rows in self._waiting.items() if len(rows) >= self._batch_size]
        with self._clock.time("scoring"):
            for serial in serials:
                while len(self._waiting[serial]) >= self._batch_size:
                    self._encode(serial)

    def finish(self, unit: OpenUnit) -> None:
        """Encode what is left of a unit's pictures and score its captions."""
        with self._clock.time("scoring"):
            while self._waiting.get(unit.serial):
                self._encode(unit.serial)
            self._waiting.pop(unit.serial, None)
            self._score(unit, "re_clip_score", _new_text)
            self._score(unit, "org_clip_score", _old_text)
        for row in unit.rows:
            row.features = None

    def _encode(self, serial: int) -> None:
        with self._lock:
            waiting = self._waiting[serial]
            batch = [waiting.popleft() for _ in range(min(self._batch_size, len(waiting)))]
        for (row, _), features in zip(batch, self._scorer.picture_features([pixels for _, pixels in batch])):
            row.features = features

    def _score(self, unit: OpenUnit, column: str, text_of: Callable[[OpenRow], str | None]) -> None:
        rows = [row for row in unit.rows if row.features is not None and (text_of(row) or "").strip()]
        for batch in _batches(rows, self._batch_size):
            features = self._scorer.text_features([text_of(row) or "" for row in batch])
            for row, text in zip(batch, features):
                row.scores[column] = round(float((row.features.double() * text.double()).sum()), SCORE_DECIMALS)


def _new_text(row: OpenRow) -> str | None:
    return None if row.captions is None else row.captions[0].text


def _old_text(row: OpenRow) -> str | None:
    return row.row.caption


def _batches(rows: Sequence[OpenRow], size: int) -> Iterator[Sequence[OpenRow]]:
    return (rows[start : start + size] for start in range(0, len(rows), size))
