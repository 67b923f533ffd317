"""A pen that paints outlined shapes on a transparent sheet."""

from collections.abc import Iterable

from PIL import Image, ImageDraw

from miniweb.art.shapes import Number, Point, Shape
from miniweb.catalogue import Colour

Ink = str | tuple[int, int, int]

SHEET_PX = 320
OUTLINE_UNITS = 4.2
"""About one pixel of a thing 28 pixels wide: outlines are what a small model sees first."""

MARGIN_UNITS = 3
"""Room around the unit square for outlines and for shapes that lean over its edge."""
SHEET_SIDES = 1 + 2 * MARGIN_UNITS / 100
"""Side of the sheet, in sides of the unit square."""
_PX_PER_UNIT = SHEET_PX / (100 * SHEET_SIDES)

INKS: dict[str, tuple[int, int, int]] = {
    "dark": (34, 30, 36),
    "white": (255, 252, 240),
    "wood": (172, 118, 72),
    "glass": (196, 230, 246),
    "leaf": (98, 176, 84),
    "metal": (176, 182, 192),
    "gold": (240, 190, 60),
    "skin": (236, 206, 160),
}
"""Inks of parts that have the same colour on every thing of a kind."""


class Pen:
    """Paints on one square sheet, in units of 1/100 of its side."""

    def __init__(self, colour: Colour):
        self.image = Image.new("RGBA", (SHEET_PX, SHEET_PX), (0, 0, 0, 0))
        self._draw = ImageDraw.Draw(self.image)
        self._inks = INKS | {"body": colour.fill, "shade": colour.shade, "accent": colour.accent}

    def paint(self, shape: Shape, ink: Ink = "body", *, inside: Iterable[tuple[Shape, Ink]] = ()) -> None:
        """Fill a shape, paint further shapes cut off at its edge, and draw its outline."""
        points = self._scaled(shape)
        self._draw.polygon(points, fill=self._rgb(ink))
        inner = list(inside)
        if inner:
            self._paint_inside(points, inner)
        self._outline(points)

    def patch(self, shape: Shape, ink: Ink = "accent") -> None:
        """Fill a shape without an outline."""
        self._draw.polygon(self._scaled(shape), fill=self._rgb(ink))

    def line(self, points: Shape, ink: Ink = "dark", width: Number = OUTLINE_UNITS) -> None:
        """Draw an open line with round ends."""
        scaled = self._scaled(points)
        rgb = self._rgb(ink)
        self._draw.line(scaled, fill=rgb, width=self._pixels(width), joint="curve")
        radius = self._pixels(width) / 2
        for x, y in (scaled[0], scaled[-1]):
            self._draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=rgb)

    def rod(self, points: Shape, ink: Ink, width: Number) -> None:
        """Draw an open line that has an outline of its own."""
        self.line(points, "dark", width + 1.6 * OUTLINE_UNITS)
        self.line(points, ink, width)

    def _paint_inside(self, points: Shape, inner: list[tuple[Shape, Ink]]) -> None:
        mask = Image.new("L", self.image.size, 0)
        ImageDraw.Draw(mask).polygon(points, fill=255)
        layer = self.image.copy()
        draw = ImageDraw.Draw(layer)
        for shape, ink in inner:
            draw.polygon(self._scaled(shape), fill=self._rgb(ink))
        self.image.paste(layer, (0, 0), mask)

    def _outline(self, points: Shape) -> None:
        closed = [*points, points[0], points[1]]
        self._draw.line(closed, fill=self._rgb("dark"), width=self._pixels(OUTLINE_UNITS), joint="curve")

    def _rgb(self, ink: Ink) -> tuple[int, int, int]:
        return self._inks[ink] if isinstance(ink, str) else ink

    @staticmethod
    def _pixels(units: Number) -> int:
        return max(1, round(units * _PX_PER_UNIT))

    @staticmethod
    def _scaled(shape: Shape) -> list[Point]:
        return [((x + MARGIN_UNITS) * _PX_PER_UNIT, (y + MARGIN_UNITS) * _PX_PER_UNIT) for x, y in shape]


def inked(shapes: Iterable[Shape], ink: Ink = "accent") -> list[tuple[Shape, Ink]]:
    """Pair shapes with one ink, for `Pen.paint(inside=...)`."""
    return [(shape, ink) for shape in shapes]
