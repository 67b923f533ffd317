"""Small charts as inline SVG: they scale with the page and follow its light or dark colours.

Colours come from the page's CSS variables `--series-0` ... (see `runtime.html`), text from `currentColor`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 560, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 16, 14, 46
NUM_COLOURS = 8

Number = int | float


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line: points in order of x, with a confidence band when `low` and `high` are given."""

    name: str
    """Shown in the legend."""
    x: Sequence[Number]
    """Horizontal positions."""
    y: Sequence[Number]
    """Values."""
    low: Sequence[Number] | None = None
    """Lower end of the interval at each x."""
    high: Sequence[Number] | None = None
    """Upper end of the interval at each x."""


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One bar, with an interval when `low` and `high` are given."""

    name: str
    """Shown under the bar."""
    value: Number
    """Its height."""
    low: Number | None = None
    """Lower end of the interval."""
    high: Number | None = None
    """Upper end of the interval."""


@dataclass(frozen=True)
class _Axis:
    """A linear map from data to pixels, with round tick values."""

    begin: Number
    end: Number
    pixel_begin: Number
    pixel_end: Number

    def __call__(self, value: Number) -> Number:
        share = (value - self.begin) / (self.end - self.begin)
        return self.pixel_begin + share * (self.pixel_end - self.pixel_begin)

    def ticks(self) -> list[Number]:
        step = _round_step((self.end - self.begin) / 5)
        first = math.ceil(self.begin / step - 1e-9)
        last = math.floor(self.end / step + 1e-9)
        return [index * step for index in range(first, last + 1)]


def line_chart(series: Sequence[Series], *, x_label: str, y_label: str, markers: bool = True) -> str:
    """Return an SVG with one line per series, bands where intervals are given, and a legend when there are several."""
    values = [v for s in series for v in (*s.y, *(s.low or ()), *(s.high or ())) if math.isfinite(v)]
    positions = [x for s in series for x in s.x]
    x_axis = _Axis(*_widen(min(positions), max(positions), 0.0), _LEFT, WIDTH - _RIGHT)
    y_axis = _Axis(*_widen(min(values), max(values), 0.06), HEIGHT - _BOTTOM, _TOP)
    parts = [_frame(y_axis, x_label, y_label), *(_x_tick(x_axis(tick), _number(tick)) for tick in x_axis.ticks())]
    for index, line in enumerate(series):
        parts.append(_line(line, x_axis, y_axis, index % NUM_COLOURS, markers=markers))
    legend = _legend([line.name for line in series]) if len(series) > 1 else ""
    return _svg(parts, f"{y_label} over {x_label}: {', '.join(line.name for line in series)}") + legend


def bar_chart(bars: Sequence[Bar], *, y_label: str, reference: Number | None = None) -> str:
    """Return an SVG with one bar per value, whiskers where intervals are given, and a dashed line at `reference`."""
    values = [v for bar in bars for v in (bar.value, bar.low, bar.high, reference, 0.0) if v is not None]
    y_axis = _Axis(*_widen(min(values), max(values), 0.06), HEIGHT - _BOTTOM, _TOP)
    slot = (WIDTH - _LEFT - _RIGHT) / max(1, len(bars))
    parts = [_frame(y_axis, "", y_label)]
    for index, bar in enumerate(bars):
        middle = _LEFT + (index + 0.5) * slot
        parts += [_bar(bar, middle, min(0.62 * slot, 64), y_axis, index % NUM_COLOURS), _x_tick(middle, bar.name)]
    if reference is not None:
        y = y_axis(reference)
        parts.append(f'<line class="reference" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
    return _svg(parts, f"{y_label}: " + ", ".join(f"{bar.name} {_number(bar.value)}" for bar in bars))


def _line(line: Series, x_axis: _Axis, y_axis: _Axis, colour: int, *, markers: bool) -> str:
    points = [(x_axis(x), y_axis(y)) for x, y in zip(line.x, line.y, strict=True) if math.isfinite(y)]
    band = ""
    if line.low is not None and line.high is not None:
        upper = [(x_axis(x), y_axis(y)) for x, y in zip(line.x, line.high, strict=True)]
        lower = [(x_axis(x), y_axis(y)) for x, y in zip(line.x, line.low, strict=True)]
        band = f'<polygon class="band" points="{_points([*upper, *reversed(lower)])}"/>'
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.2"/>' for x, y in points) if markers else ""
    return f'<g class="series-{colour}">{band}<polyline points="{_points(points)}"/>{dots}</g>'


def _bar(bar: Bar, middle: Number, width: Number, y_axis: _Axis, colour: int) -> str:
    zero, top = y_axis(0.0), y_axis(bar.value)
    box = f'x="{middle - width / 2:.1f}" y="{min(zero, top):.1f}" width="{width:.1f}" height="{abs(zero - top):.1f}"'
    parts = [f'<rect rx="2" {box}><title>{escape(bar.name)}: {_number(bar.value)}</title></rect>']
    if bar.low is not None and bar.high is not None:
        low, high = y_axis(bar.low), y_axis(bar.high)
        whisker = f"M{middle:.1f} {low:.1f}V{high:.1f}M{middle - 5:.1f} {low:.1f}h10M{middle - 5:.1f} {high:.1f}h10"
        parts.append(f'<path class="whisker" d="{whisker}"/>')
    return f'<g class="series-{colour}">{"".join(parts)}</g>'


def _frame(y_axis: _Axis, x_label: str, y_label: str) -> str:
    parts = []
    for tick in y_axis.ticks():
        y = y_axis(tick)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{_number(tick)}</text>')
    middle = (_TOP + HEIGHT - _BOTTOM) / 2
    parts.append(
        f'<text class="label" x="14" y="{middle:.1f}" text-anchor="middle" '
        f'transform="rotate(-90 14 {middle:.1f})">{escape(y_label)}</text>'
    )
    centre = (_LEFT + WIDTH - _RIGHT) / 2
    parts.append(f'<text class="label" x="{centre}" y="{HEIGHT - 8}" text-anchor="middle">{escape(x_label)}</text>')
    return "".join(parts)


def _x_tick(x: Number, text: str) -> str:
    return f'<text x="{x:.1f}" y="{HEIGHT - _BOTTOM + 18}" text-anchor="middle">{escape(text)}</text>'


def _legend(names: Sequence[str]) -> str:
    items = (f'<li class="series-{i % NUM_COLOURS}"><i></i>{escape(name)}</li>' for i, name in enumerate(names))
    return f'<ul class="legend">{"".join(items)}</ul>'


def _svg(parts: Sequence[str], description: str) -> str:
    box = f'viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(description)}"'
    return f'<svg class="chart" {box}>{"".join(parts)}</svg>'


def _points(points: Sequence[tuple[Number, Number]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _widen(low: Number, high: Number, share: float) -> tuple[Number, Number]:
    if low == high:
        margin = abs(low) * 0.1 or 1.0
        return low - margin, high + margin
    margin = share * (high - low)
    # A margin below zero would suggest values that a count or a share cannot have.
    return (0.0 if 0.0 <= low < margin * 2 else low - margin), high + margin


def _round_step(step: Number) -> float:
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if step <= factor * power * 1.0001)


def _number(value: Number) -> str:
    if value == 0:
        return "0"
    if abs(value) >= 10_000 or abs(value) < 0.001:
        return f"{value:.3g}"
    return f"{value:.4g}"
