"""Take several ways through the same work, in turns, and compare their rates."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from runtime.tables import markdown_table


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One way to do the work."""

    name: str
    seconds: Callable[[], float]
    """Do the work once and return the seconds that count."""
    num_items: int
    """Items of work done in those seconds."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one contender reached in each repeat, in items a second."""

    name: str
    rates: tuple[float, ...]


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that `work` takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def race(contenders: Sequence[Contender], *, repeats: int) -> list[Result]:
    """Let each contender run once unmeasured and then `repeats` times, in turns.

    Turns, and every other round backwards: a machine that slows down meanwhile slows all of them alike.
    """
    for contender in contenders:
        contender.seconds()
    rates: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for repeat in range(repeats):
        for contender in contenders if repeat % 2 == 0 else reversed(contenders):
            rates[contender.name].append(contender.num_items / contender.seconds())
    return [Result(name=name, rates=tuple(values)) for name, values in rates.items()]


def table(results: Sequence[Result], *, unit: str) -> str:
    """Return a Markdown table of rates and of ratios to the first result.

    A ratio is taken repeat by repeat; median and, in brackets, lowest and highest.
    """
    reference = results[0].rates
    rows = []
    for result in results:
        ratios = [rate / other for rate, other in zip(result.rates, reference, strict=True)]
        rows.append([result.name, spread(result.rates, rate_text), spread(ratios, "{:.2f}".format)])
    return markdown_table(["way", f"{unit} / s", f"times {results[0].name}"], rows)


def spread(values: Sequence[float], show: Callable[[float], str]) -> str:
    """Return the median of some values and, in brackets, the lowest and the highest."""
    middle = show(statistics.median(values))
    return middle if len(values) == 1 else f"{middle} ({show(min(values))} to {show(max(values))})"


def rate_text(value: float) -> str:
    """Return a rate with as many digits as it deserves."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
