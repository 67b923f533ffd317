"""Places, painted light so that things stand out, each a little different every time."""

from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image, ImageDraw

from miniweb.art.shapes import Number, Point

RGB = tuple[int, int, int]

OVERSAMPLING = 2


class _Easel:
    """Paints in shares of the picture's width and height, on a canvas larger than the picture."""

    def __init__(self, width_px: int, height_px: int, generator: np.random.Generator, base: RGB):
        self.image = Image.new("RGB", (width_px * OVERSAMPLING, height_px * OVERSAMPLING), base)
        self.generator = generator
        self._draw = ImageDraw.Draw(self.image)
        self._unit = min(self.image.size)

    def between(self, low: Number, high: Number) -> float:
        return low + (high - low) * float(self.generator.random())

    def box(self, left: Number, top: Number, right: Number, bottom: Number, ink: RGB) -> None:
        width, height = self.image.size
        self._draw.rectangle((left * width, top * height, right * width, bottom * height), fill=ink)

    def polygon(self, points: list[Point], ink: RGB) -> None:
        width, height = self.image.size
        self._draw.polygon([(x * width, y * height) for x, y in points], fill=ink)

    def disc(self, x: Number, y: Number, radius: Number, ink: RGB, flatness: Number = 1.0) -> None:
        """Fill an ellipse; the radius is a share of the shorter side, so that discs are round in any picture."""
        width, height = self.image.size
        rx, ry = radius * self._unit, radius * self._unit * flatness
        self._draw.ellipse((x * width - rx, y * height - ry, x * width + rx, y * height + ry), fill=ink)

    def stroke(self, points: list[Point], ink: RGB, thickness: Number) -> None:
        width, height = self.image.size
        scaled = [(x * width, y * height) for x, y in points]
        self._draw.line(scaled, fill=ink, width=max(1, round(thickness * self._unit)), joint="curve")

    def cloud(self, x: Number, y: Number, size: Number, ink: RGB) -> None:
        for dx, dy, radius in ((-0.9, 0.1, 0.6), (0.0, -0.2, 0.8), (0.9, 0.1, 0.6), (0.0, 0.3, 0.7)):
            self.disc(x + dx * size, y + dy * size, radius * size, ink, 0.7)


def _heaven(easel: _Easel, horizon: Number, top: RGB, bottom: RGB) -> None:
    for band in range(6):
        share = band / 5
        ink = tuple(round(a + (b - a) * share) for a, b in zip(top, bottom, strict=True))
        easel.box(0, horizon * band / 6, 1, horizon * (band + 1) / 6, (ink[0], ink[1], ink[2]))


def _meadow(easel: _Easel) -> None:
    horizon = easel.between(0.3, 0.45)
    _heaven(easel, horizon, (198, 228, 246), (236, 246, 246))
    easel.disc(easel.between(0.1, 0.9), easel.between(0.06, 0.16), 0.08, (255, 242, 190))
    for _ in range(2):
        easel.cloud(easel.between(0, 1), easel.between(0.05, 0.2), 0.06, (252, 253, 253))
    for x in (easel.between(0.0, 0.3), easel.between(0.6, 1.0)):
        easel.disc(x, horizon + 0.12, 0.42, (204, 230, 184), 0.45)
    easel.box(0, horizon + 0.08, 1, 1, (216, 238, 186))
    for _ in range(26):
        x, y = easel.between(0, 1), easel.between(horizon + 0.12, 1)
        easel.polygon([(x - 0.012, y), (x, y - 0.045), (x + 0.012, y)], (184, 216, 150))
    for _ in range(8):
        easel.disc(easel.between(0, 1), easel.between(horizon + 0.14, 1), 0.012, (255, 250, 236))


def _beach(easel: _Easel) -> None:
    horizon = easel.between(0.22, 0.32)
    shore = horizon + easel.between(0.16, 0.24)
    _heaven(easel, horizon, (204, 234, 250), (242, 248, 246))
    easel.disc(easel.between(0.1, 0.9), horizon - 0.1, 0.07, (255, 240, 184))
    easel.box(0, horizon, 1, shore, (158, 216, 226))
    for _ in range(7):
        x, y = easel.between(0, 0.9), easel.between(horizon + 0.02, shore - 0.02)
        easel.stroke([(x, y), (x + 0.1, y)], (214, 240, 244), 0.012)
    phase = easel.between(0, 6.3)
    coast = [(i / 16, shore + 0.018 * float(np.sin(i * 0.9 + phase))) for i in range(17)]
    easel.polygon([*coast, (1, 1), (0, 1)], (248, 232, 192))
    easel.stroke(coast, (255, 253, 244), 0.02)
    for _ in range(30):
        easel.disc(easel.between(0, 1), easel.between(shore + 0.06, 1), 0.006, (226, 204, 156))
    for _ in range(3):
        x, y = easel.between(0, 1), easel.between(shore + 0.1, 1)
        easel.polygon([(x, y), (x + 0.025, y - 0.03), (x + 0.05, y)], (252, 214, 196))


def _snow(easel: _Easel) -> None:
    horizon = easel.between(0.3, 0.42)
    _heaven(easel, horizon + 0.1, (206, 214, 230), (230, 234, 244))
    for _ in range(6):
        x, size = easel.between(0, 1), easel.between(0.06, 0.12)
        foot = horizon + 0.06
        easel.polygon([(x - size * 0.5, foot), (x, foot - 2 * size), (x + size * 0.5, foot)], (184, 202, 212))
    easel.disc(easel.between(0.1, 0.4), horizon + 0.2, 0.5, (250, 252, 255), 0.4)
    easel.disc(easel.between(0.7, 1.0), horizon + 0.2, 0.5, (244, 248, 254), 0.36)
    easel.box(0, horizon + 0.12, 1, 1, (250, 252, 255))
    for _ in range(3):
        y = easel.between(horizon + 0.2, 1)
        x = easel.between(0, 0.7)
        easel.stroke([(x, y), (x + 0.15, y - 0.015), (x + 0.3, y)], (224, 234, 246), 0.014)
    for _ in range(34):
        easel.disc(easel.between(0, 1), easel.between(0, 1), easel.between(0.006, 0.014), (255, 255, 255))


def _street(easel: _Easel) -> None:
    horizon = easel.between(0.44, 0.54)
    _heaven(easel, horizon, (224, 226, 232), (240, 238, 236))
    x = easel.between(-0.1, 0.0)
    while x < 1:
        width, top = easel.between(0.14, 0.24), easel.between(0.06, 0.26)
        grey = int(easel.between(200, 218))
        easel.box(x, top, x + width, horizon, (grey, grey - 4, grey - 2))
        for row in range(3):
            for column in range(2):
                left, up = x + width * (0.2 + 0.36 * column), top + 0.05 + row * 0.09
                easel.box(left, up, left + width * 0.2, up + 0.045, (238, 236, 222))
        x += width + 0.01
    easel.box(0, horizon, 1, horizon + 0.1, (222, 218, 212))
    easel.box(0, horizon + 0.1, 1, 1, (190, 190, 196))
    offset = easel.between(0, 0.2)
    middle = horizon + 0.1 + (0.9 - horizon) * 0.5
    for i in range(-1, 5):
        left = offset + i * 0.24
        easel.box(left, middle, left + 0.13, middle + 0.028, (248, 246, 234))


def _room(easel: _Easel) -> None:
    skirting = easel.between(0.62, 0.72)
    papers = (((250, 236, 218), (244, 226, 204)), ((240, 230, 240), (230, 218, 232)))
    wall, stripe = papers[int(easel.between(0, 2))]
    easel.box(0, 0, 1, skirting, wall)
    step = easel.between(0.1, 0.14)
    for i in range(12):
        easel.box(i * step, 0, i * step + step * 0.4, skirting, stripe)
    left, top = easel.between(0.08, 0.6), easel.between(0.06, 0.14)
    easel.box(left, top, left + 0.3, top + 0.32, (226, 198, 168))
    easel.box(left + 0.02, top + 0.02, left + 0.28, top + 0.3, (216, 236, 246))
    easel.box(left + 0.14, top, left + 0.16, top + 0.32, (226, 198, 168))
    easel.box(left, top + 0.15, left + 0.3, top + 0.17, (226, 198, 168))
    easel.box(0, skirting, 1, 1, (230, 200, 164))
    easel.box(0, skirting, 1, skirting + 0.03, (255, 250, 242))
    for i in range(1, 4):
        y = skirting + 0.03 + i * (0.97 - skirting) / 4
        easel.stroke([(0, y), (1, y)], (212, 180, 142), 0.008)
        x = easel.between(0.1, 0.9)
        easel.stroke([(x, y), (x, y + (0.97 - skirting) / 4)], (212, 180, 142), 0.008)


def _sky(easel: _Easel) -> None:
    _heaven(easel, 1.0, (160, 208, 246), (214, 236, 252))
    easel.disc(easel.between(0.1, 0.9), easel.between(0.08, 0.2), 0.09, (255, 246, 200))
    for row in range(4):
        for _ in range(2):
            y = easel.between(row / 4, (row + 1) / 4)
            easel.cloud(easel.between(0, 1), y, easel.between(0.06, 0.11), (248, 251, 254))
    for _ in range(3):
        x, y = easel.between(0.05, 0.95), easel.between(0.1, 0.9)
        easel.stroke([(x - 0.03, y - 0.015), (x, y), (x + 0.03, y - 0.015)], (140, 170, 200), 0.008)


_PAINTERS: Mapping[str, Callable[[_Easel], None]] = {
    "meadow": _meadow,
    "beach": _beach,
    "snow": _snow,
    "street": _street,
    "room": _room,
    "sky": _sky,
}


def background(name: str, generator: np.random.Generator, width_px: int, height_px: int) -> Image.Image:
    """Paint one of the catalogue's backgrounds at the given size."""
    easel = _Easel(width_px, height_px, generator, (255, 255, 255))
    _PAINTERS[name](easel)
    return easel.image.resize((width_px, height_px), Image.Resampling.BOX)
