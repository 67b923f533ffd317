"""Progress that a person can watch: a bar with rate and ETA on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Mapping
from io import TextIOBase
from types import TracebackType
from typing import Any

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Show how far a long piece of work is. Use as a context manager; `enabled=False` shows nothing."""

    def __init__(
        self,
        *,
        total: int,
        unit: str,
        label: str,
        initial: int = 0,
        enabled: bool = True,
        file: TextIOBase | None = None,
    ):
        self._total, self._initial, self._done = total, initial, initial
        self._unit, self._label, self._enabled = unit, label, enabled
        self._file: Any = sys.stderr if file is None else file
        self._started = self._last_line = time.monotonic()
        self._bar: tqdm | None = None

    def __enter__(self) -> "Progress":
        if self._enabled and self._file.isatty():
            self._bar = tqdm(
                total=self._total,
                initial=self._initial,
                unit=f" {self._unit}",
                desc=self._label,
                dynamic_ncols=True,
                file=self._file,
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        elif self._enabled and kind is None and self._done > self._initial:
            self._print_line({})

    def advance(self, steps: int = 1) -> None:
        """Move on by some steps."""
        self._done += steps
        if self._bar is not None:
            self._bar.update(steps)

    def show(self, facts: Mapping[str, int | float | str]) -> None:
        """Set the facts beside the bar, or print a line when the last one is some seconds old."""
        if self._bar is not None:
            self._bar.set_postfix({name: _short(value) for name, value in facts.items()})
        elif self._enabled and time.monotonic() - self._last_line >= SECONDS_BETWEEN_LINES:
            self._print_line(facts)

    def _print_line(self, facts: Mapping[str, int | float | str]) -> None:
        self._last_line = time.monotonic()
        rate = (self._done - self._initial) / max(self._last_line - self._started, 1e-9)
        left = tqdm.format_interval((self._total - self._done) / rate) if rate > 0 else "?"
        numbers = "".join(f", {name} {_short(value)}" for name, value in facts.items())
        line = f"{self._label}: {self._done}/{self._total} {self._unit}, {rate:.2f}/s, {left} left{numbers}"
        print(line, file=self._file, flush=True)


def _short(value: int | float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"
