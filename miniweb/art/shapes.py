"""Outlines as lists of points, in units of a 100 x 100 sheet with (0, 0) top left."""

import math
from collections.abc import Sequence

Number = float | int
Point = tuple[Number, Number]
Shape = Sequence[Point]


def arc(cx: Number, cy: Number, rx: Number, ry: Number, start_degrees: Number, end_degrees: Number) -> Shape:
    """Return points along an ellipse, clockwise from the right-hand side."""
    num = max(8, int(abs(end_degrees - start_degrees) / 6))
    angles = [math.radians(start_degrees + (end_degrees - start_degrees) * i / num) for i in range(num + 1)]
    return [(cx + rx * math.cos(angle), cy + ry * math.sin(angle)) for angle in angles]


def ellipse(cx: Number, cy: Number, rx: Number, ry: Number | None = None) -> Shape:
    """Return an ellipse, or a circle when `ry` is left out."""
    return arc(cx, cy, rx, rx if ry is None else ry, 0, 360)


def box(left: Number, top: Number, right: Number, bottom: Number, radius: Number = 0) -> Shape:
    """Return a rectangle, with rounded corners where `radius` is above 0."""
    if radius <= 0:
        return [(left, top), (right, top), (right, bottom), (left, bottom)]
    corners = ((right, top, -90), (right, bottom, 0), (left, bottom, 90), (left, top, 180))
    points: list[Point] = []
    for x, y, start in corners:
        cx = x - radius if x == right else x + radius
        cy = y + radius if y == top else y - radius
        points += arc(cx, cy, radius, radius, start, start + 90)
    return points


def star(cx: Number, cy: Number, radius: Number, num_points: int = 5, depth: Number = 0.45) -> Shape:
    """Return a star whose inner corners lie at `depth` of the radius."""
    points: list[Point] = []
    for i in range(2 * num_points):
        angle = math.radians(-90 + 180 * i / num_points)
        length = radius if i % 2 == 0 else radius * depth
        points.append((cx + length * math.cos(angle), cy + length * math.sin(angle)))
    return points


def heart(cx: Number, cy: Number, radius: Number) -> Shape:
    """Return a heart that is about two radii wide."""
    points: list[Point] = []
    for i in range(48):
        t = 2 * math.pi * i / 48
        x = 16 * math.sin(t) ** 3
        y = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        points.append((cx + radius * x / 16, cy - radius * y / 16))
    return points


def rotate(shape: Shape, degrees: Number, cx: Number = 50, cy: Number = 50) -> Shape:
    """Turn a shape clockwise about a point."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return [(cx + (x - cx) * cosine - (y - cy) * sine, cy + (x - cx) * sine + (y - cy) * cosine) for x, y in shape]


def mirror(shape: Shape, about_x: Number = 50) -> Shape:
    """Mirror a shape left to right."""
    return [(2 * about_x - x, y) for x, y in shape]


def around(cx: Number, cy: Number, distance: Number, num: int, start_degrees: Number = -90) -> list[Point]:
    """Return points evenly spaced on a circle."""
    angles = [math.radians(start_degrees + 360 * i / num) for i in range(num)]
    return [(cx + distance * math.cos(angle), cy + distance * math.sin(angle)) for angle in angles]


def dots(centres: Sequence[Point], radius: Number) -> list[Shape]:
    """Return a circle about each point."""
    return [ellipse(x, y, radius) for x, y in centres]


def bars(lefts: Sequence[Number], width: Number, top: Number = 0, bottom: Number = 100) -> list[Shape]:
    """Return upright bars."""
    return [box(left, top, left + width, bottom) for left in lefts]


def bands(tops: Sequence[Number], height: Number, left: Number = 0, right: Number = 100) -> list[Shape]:
    """Return level bands."""
    return [box(left, top, right, top + height) for top in tops]
