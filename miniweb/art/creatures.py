"""What grows, swims, walks and flies by itself."""

from miniweb.art.pen import Ink, Pen, inked
from miniweb.art.shapes import Number, Shape, arc, around, bands, bars, box, dots, ellipse, mirror, rotate


def tree(pen: Pen, style: str) -> None:
    """Draw a tree; its crown has the colour."""
    pen.paint(box(43, 56, 57, 97), "wood")
    if style == "round":
        fruit = dots([(34, 26), (62, 22), (50, 44), (28, 48), (72, 46)], 6)
        pen.paint(ellipse(50, 36, 40, 33), inside=inked(fruit))
    elif style == "cone":
        for bottom, half in ((78, 42), (54, 34), (32, 25)):
            pen.paint([(50, bottom - 30), (50 + half, bottom), (50 - half, bottom)])
    elif style == "palm":
        leaf = [(50, 52), (34, 20), (14, 24), (3, 54), (20, 42), (34, 44)]
        for frond in (leaf, mirror(leaf), rotate(leaf, 62, 50, 50), mirror(rotate(leaf, 62, 50, 50))):
            pen.paint(frond)
    else:
        pen.paint(ellipse(50, 42, 22, 40), inside=inked(bands((24, 42, 60), 8)))


def _bird_body(pen: Pen, cx: Number, cy: Number, inside: list[tuple[Shape, Ink]]) -> None:
    pen.paint([(cx + 30, cy - 22), (cx + 46, cy - 16), (cx + 30, cy - 10)], "gold")
    pen.paint(ellipse(cx + 20, cy - 16, 16))
    pen.paint(ellipse(cx, cy, 32, 22), inside=inside)
    pen.patch(ellipse(cx + 20, cy - 12, 13), "body")
    pen.patch(ellipse(cx + 24, cy - 19, 4), "accent")
    pen.patch(ellipse(cx + 25, cy - 19, 2), "dark")


def bird(pen: Pen, style: str) -> None:
    """Draw a bird looking right."""
    legs_to = 97 if style == "striped" else 88
    for x in (42, 54):
        pen.line([(x, 70), (x, legs_to), (x + 7, legs_to)], "dark", 4)
    if style == "tail":
        pen.paint([(26, 58), (4, 8), (16, 4), (42, 46)], "shade")
    else:
        pen.paint([(24, 50), (4, 46), (6, 64), (28, 66)], "shade")
    if style == "crest":
        for degrees in (-38, 0, 38):
            pen.paint(rotate([(59, 34), (66, 4), (73, 34)], degrees, 66, 34), "accent")
    stripes = inked(bars((24, 40, 56), 7)) if style == "striped" else []
    _bird_body(pen, 48, 60, stripes)
    if style != "striped":
        pen.paint([(26, 54), (58, 54), (40, 76)], "shade")


def fish(pen: Pen, style: str) -> None:
    """Draw a fish looking left."""
    pen.paint([(66, 50), (96, 26), (88, 50), (96, 74)], "shade")
    if style == "round":
        for x, y in around(44, 50, 42, 12):
            pen.paint(
                [(44 + (y - 50) * 0.14, 50 - (x - 44) * 0.14), (x, y), (44 - (y - 50) * 0.14, 50 + (x - 44) * 0.14)],
                "accent",
            )
        pen.paint(ellipse(44, 50, 30))
    elif style == "dotted":
        pen.paint(ellipse(42, 50, 39, 20), inside=inked(dots([(38, 44), (52, 56), (62, 44), (34, 60)], 5.5)))
    else:
        pen.paint([(34, 26), (58, 10), (62, 30)], "shade")
        stripes = inked(bars((32, 48, 64), 8)) if style == "striped" else []
        pen.paint(ellipse(42, 50, 38, 27), inside=stripes)
    pen.patch(ellipse(22, 44, 5.5), "white")
    pen.patch(ellipse(21, 44, 3), "dark")


def flower(pen: Pen, style: str) -> None:
    """Draw a flower on its stem."""
    pen.rod([(50, 56), (50, 95)], "leaf", 4)
    pen.paint(rotate(ellipse(64, 82, 14, 6), -25, 50, 82), "leaf")
    if style == "tulip":
        pen.paint([(24, 12), (38, 26), (50, 8), (62, 26), (76, 12), (74, 46), (50, 64), (26, 46)])
        return
    if style == "petals":
        for x, y in around(50, 36, 19, 5):
            pen.paint(ellipse(x, y, 15))
        pen.paint(ellipse(50, 36, 9), "accent")
        return
    for turn in range(9):
        pen.paint(rotate(ellipse(50, 16, 9, 15), 40 * turn, 50, 37))
    pen.paint(ellipse(50, 37, 12), "accent")


def cat(pen: Pen, style: str) -> None:
    """Draw a cat sitting, seen from the front."""
    pen.rod([(74, 84), (90, 78), (88, 56)], "body", 6)
    body = [*arc(50, 90, 30, 44, 180, 360), (80, 94), (20, 94)]
    belly = [(ellipse(50, 84, 15, 24), "accent")] if style == "bib" else []
    pen.paint(body, inside=inked(bands((62, 76), 7)) if style == "striped" else belly)
    for points in ([(24, 34), (24, 4), (48, 20)], mirror([(24, 34), (24, 4), (48, 20)])):
        pen.paint(points)
    face = [(ellipse(50, 50, 18, 16), "accent")] if style == "bib" else []
    marks = inked([box(47, 8, 53, 27), box(33, 10, 39, 27), box(61, 10, 67, 27)]) if style == "striped" else face
    pen.paint(ellipse(50, 38, 31, 25), inside=marks)
    eye_ink = "dark" if style == "bib" else "accent"
    for x in (39, 61):
        pen.patch(ellipse(x, 36, 4.5, 5.5), eye_ink)
    pen.patch([(46, 45), (54, 45), (50, 51)], eye_ink)


def butterfly(pen: Pen, style: str) -> None:
    """Draw a butterfly from above."""
    wings: dict[str, tuple[Shape, Shape]] = {
        "spots": (ellipse(26, 34, 23, 24), ellipse(30, 70, 18, 18)),
        "bands": ([(48, 50), (36, 14), (2, 8), (8, 44)], [(48, 54), (12, 56), (20, 90)]),
        "tails": ([(48, 48), (40, 12), (10, 18), (8, 50)], [(48, 52), (8, 54), (14, 76), (10, 98), (28, 80)]),
    }
    marks = {
        "spots": inked(dots([(22, 32), (30, 70)], 9)),
        "bands": inked([[(14, 0), (26, 0), (26, 100), (14, 100)]]),
        "tails": inked([[(0, 0), (40, 0), (16, 26), (16, 100), (0, 100)]]),
    }[style]
    for wing in wings[style][::-1]:
        pen.paint(wing, inside=marks)
        pen.paint(mirror(wing), inside=[(mirror(shape), ink) for shape, ink in marks])
    pen.line([(47, 26), (38, 8)], "dark", 3)
    pen.line([(53, 26), (62, 8)], "dark", 3)
    pen.paint(ellipse(50, 52, 4.5, 26), "dark")


def mushroom(pen: Pen, style: str) -> None:
    """Draw a mushroom; its cap has the colour."""
    pen.paint([(40, 46), (60, 46), (66, 94), (34, 94)], "white")
    if style == "dots":
        spots = dots([(28, 40), (50, 24), (72, 40), (50, 48)], 7.5)
        pen.paint([*arc(50, 54, 46, 46, 180, 360)], inside=inked(spots))
    elif style == "funnel":
        pen.paint([(4, 16), (96, 16), (64, 58), (36, 58)])
        pen.paint(ellipse(50, 17, 46, 10), "shade")
    else:
        pen.paint([(50, 2), (92, 70), (8, 70)], inside=inked(bands((30, 50), 7)))


def turtle(pen: Pen, style: str) -> None:
    """Draw a turtle walking right; its shell has the colour."""
    for x in (26, 62):
        pen.paint(box(x - 7, 66, x + 7, 88, 5), "skin")
    pen.paint(ellipse(84, 58, 13, 12), "skin")
    pen.patch(ellipse(88, 55, 3), "dark")
    if style == "spikes":
        for x, y in ((16, 44), (30, 28), (46, 22), (62, 28), (74, 44)):
            pen.paint([(x - 9, y + 14), (x - 2, y - 14), (x + 10, y + 12)], "accent")
    shell = [*arc(45, 70, 41, 44, 180, 360)]
    if style == "plates":
        lines = [box(42, 20, 48, 80), box(0, 48, 100, 54), box(20, 54, 25, 80), box(65, 54, 70, 80)]
        pen.paint(shell, inside=inked(lines))
    elif style == "dots":
        pen.paint(shell, inside=inked(dots([(45, 40), (26, 56), (64, 56), (45, 62)], 7)))
    else:
        pen.paint(shell)
