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
    core_seconds: tuple[float, ...] = ()
    """Seconds of a core that an item took in each repeat: others on the machine lengthen them less than the time."""


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that `work` takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def race(
    contenders: Sequence[Contender],
    *,
    repeats: int,
    warm_up: bool = True,
    core_seconds: Callable[[], float] = time.process_time,
) -> list[Result]:
    """Let each contender run once unmeasured and then `repeats` times, in turns.

    Turns, and every other round backwards: a machine that slows down meanwhile slows all of them alike. `core_seconds`
    tells what has been used so far by whoever does the work; this process alone, if not said.
    """
    for contender in contenders if warm_up else ():
        contender.seconds()
    rates: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    costs: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for repeat in range(repeats):
        for contender in contenders if repeat % 2 == 0 else reversed(contenders):
            before = core_seconds()
            rates[contender.name].append(contender.num_items / contender.seconds())
            costs[contender.name].append((core_seconds() - before) / contender.num_items)
    return [Result(name=name, rates=tuple(rates[name]), core_seconds=tuple(costs[name])) for name in rates]


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


@dataclass(frozen=True, kw_only=True)
class Bar:
    """How many times as fast as another a way should be."""

    faster: str
    slower: str
    least: float


def bars_table(results: Sequence[Result], bars: Sequence[Bar], *, by_core: bool = False) -> str:
    """Return a Markdown table of ratios beside their bars: of rates, and of what items cost in seconds of a core.

    Ratios are taken repeat by repeat. A bar holds by the median ratio of rates, or `by_core` of seconds of a core:
    for ways that keep to one core, on a machine with other work.
    """
    by_name = {result.name: result for result in results}
    rows = []
    for bar in bars:
        fast, slow = by_name[bar.faster], by_name[bar.slower]
        rates = [one / other for one, other in zip(fast.rates, slow.rates, strict=True)]
        costs = [other / one for one, other in zip(fast.core_seconds, slow.core_seconds, strict=True)]
        holds = "holds" if statistics.median(costs if by_core else rates) >= bar.least else "SHORT"
        ratios = [spread(values, "{:.2f}".format) for values in (rates, costs)]
        rows.append([bar.faster, bar.slower, f">= {bar.least:g}", *ratios, holds])
    columns = ["way", "beside", "bar", "times as fast", "by seconds of a core", ""]
    return markdown_table(columns, rows)


def spread(values: Sequence[float], show: Callable[[float], str]) -> str:
    """Return the median of some values and, in brackets, the lowest and the highest."""
    middle = show(statistics.median(values))
    return middle if len(values) == 1 else f"{middle} ({show(min(values))} to {show(max(values))})"


def rate_text(value: float) -> str:
    """Return a rate with as many digits as it deserves."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
