"""Answers that were given, kept by what was asked: the same question is never paid for twice."""

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from runtime.atomic import write_json
from runtime.json_files import read_object


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a model answered, and what that took."""

    text: str
    input_tokens: int = 0
    """Tokens read, as the server counts them."""
    output_tokens: int = 0


class KeptAnswers:
    """A file for each question, under the digest of everything that shapes its answer."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._asking: dict[str, threading.Lock] = {}

    @contextmanager
    def alone(self, key: str) -> Iterator[None]:
        """Let one thread at a time ask a question: the others find its answer."""
        with self._asking.setdefault(key, threading.Lock()):
            yield

    def get(self, key: str) -> Answer | None:
        """Return an answer that was kept."""
        path = self._place(key)
        return Answer(**read_object(path, "text", "input_tokens", "output_tokens")) if path.exists() else None

    def keep(self, key: str, answer: Answer) -> None:
        """Keep an answer, whole or not at all."""
        write_json(self._place(key), asdict(answer))

    def _place(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.json"


def key_of(parts: Mapping[str, Any]) -> str:
    """Return the digest of everything that shapes an answer."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
