"""Houses, tents, boats and what drives or flies."""

from miniweb.art.pen import Pen, inked
from miniweb.art.shapes import Number, arc, bands, bars, box, dots, ellipse, heart, mirror


def house(pen: Pen, style: str) -> None:
    """Draw a house."""
    if style == "tower":
        pen.paint(box(62, 22, 88, 94))
        pen.paint([(56, 24), (75, 4), (94, 24)], "wood")
        pen.paint(box(10, 52, 66, 94))
        pen.paint([(4, 54), (38, 30), (70, 54)], "wood")
        pen.paint(box(69, 36, 81, 52), "glass")
        pen.paint(box(28, 66, 46, 94), "white")
        return
    if style == "flat":
        pen.paint(box(14, 18, 86, 94))
        pen.paint(box(8, 10, 92, 24), "wood")
        for left, top in ((24, 34), (58, 34), (24, 62), (58, 62)):
            pen.paint(box(left, top, left + 18, top + 18), "glass")
        return
    pen.paint(box(14, 46, 86, 94))
    if style == "gable":
        pen.paint([(4, 48), (50, 8), (96, 48)], "wood")
    else:
        pen.paint(arc(50, 48, 42, 40, 180, 360), "wood")
    pen.paint(box(26, 62, 44, 94), "white")
    pen.paint(box(56, 60, 74, 78), "glass")


def tent(pen: Pen, style: str) -> None:
    """Draw a tent."""
    if style == "ridge":
        pen.paint([(50, 12), (97, 90), (3, 90)])
        pen.paint([(50, 34), (70, 90), (30, 90)], "accent")
    elif style == "dome":
        dome = [*arc(50, 88, 46, 68, 180, 360), (96, 90), (4, 90)]
        ribs = [arc(50, 88, 20, 68, 180, 360), arc(50, 88, 12, 66, 180, 360)]
        pen.paint(dome, inside=[(ribs[0], "shade"), (ribs[1], "body")])
        pen.paint([*arc(50, 90, 15, 32, 180, 360)], "accent")
    else:
        pen.line([(50, 26), (50, 4)])
        pen.paint([(50, 4), (72, 11), (50, 18)], "gold")
        stripes = [([(50, 22), (x, 96), (x + 12, 96)], "accent") for x in (-4, 20, 44, 68, 92)]
        pen.paint([(50, 22), (92, 52), (88, 92), (12, 92), (8, 52)], inside=stripes)


def boat(pen: Pen, style: str) -> None:
    """Draw a boat."""
    hull = [(4, 62), (96, 62), (82, 96), (18, 96)]
    if style == "sail":
        pen.line([(46, 64), (46, 6)], "dark", 6)
        pen.paint([(50, 8), (50, 58), (88, 58)], "white")
    elif style == "steamer":
        pen.paint(box(52, 14, 68, 44), "accent", inside=inked(bands((14,), 10), "dark"))
        pen.paint(box(24, 40, 78, 64), "white")
        for x in (36, 51, 66):
            pen.patch(ellipse(x, 52, 5), "dark")
    else:
        for left in (12, 50):
            sail = [(left, 14), (left + 30, 8), (left + 36, 56), (left, 56)]
            pen.paint(sail, "white", inside=inked(bands((18, 36), 9), "body"))
    pen.paint(hull, inside=inked([[(0, 86), (100, 86), (100, 98), (0, 98)]], "shade"))


def _wheel(pen: Pen, cx: Number, cy: Number, radius: Number) -> None:
    pen.paint(ellipse(cx, cy, radius), "dark")
    pen.patch(ellipse(cx, cy, radius * 0.45), "metal")


def car(pen: Pen, style: str) -> None:
    """Draw a car seen from its side."""
    if style == "van":
        pen.paint([(6, 20), (74, 20), (94, 48), (94, 78), (6, 78)])
        pen.paint([(62, 28), (72, 28), (84, 48), (62, 48)], "glass")
        pen.paint(box(14, 28, 50, 48, 4), "accent")
    elif style == "open":
        pen.paint([(4, 54), (30, 54), (36, 62), (58, 62), (60, 50), (90, 54), (96, 64), (96, 80), (4, 80)])
        pen.line([(60, 52), (48, 28)], "dark", 6)
        pen.paint(ellipse(38, 44, 9), "skin")
    elif style == "racer":
        pen.paint(box(2, 28, 26, 40), "accent")
        pen.line([(14, 40), (14, 56)], "dark", 6)
        body = [(4, 54), (36, 52), (48, 40), (62, 40), (72, 54), (97, 66), (97, 80), (4, 80)]
        pen.paint(body, inside=inked([box(52, 30, 64, 90)]))
    else:
        pen.paint([*arc(48, 52, 32, 32, 180, 360)])
        pen.paint([*arc(44, 50, 21, 21, 180, 270), (44, 50)], "glass")
        pen.paint([*arc(52, 50, 21, 21, 270, 360), (52, 50)], "glass")
        pen.paint(box(4, 52, 96, 80, 12))
    for cx in (25, 75):
        _wheel(pen, cx, 80, 13)


def bus(pen: Pen, style: str) -> None:
    """Draw a bus seen from its side."""
    top = 8 if style == "double" else 24
    if style == "tram":
        pen.line([(40, 26), (50, 6), (62, 26)], "dark", 4)
        pen.line([(34, 6), (66, 6)], "dark", 5)
    extra = inked([box(0, 58, 100, 70)]) if style == "tram" else []
    pen.paint(box(3, top, 97, 82, 8), inside=extra)
    for row in (16, 46) if style == "double" else (34,):
        for left in (11, 33, 55, 77):
            pen.paint(box(left, row, left + 14, row + 16), "glass")
    for cx in (25, 75):
        _wheel(pen, cx, 82, 12)


def rocket(pen: Pen, style: str) -> None:
    """Draw a rocket standing upright."""
    pen.paint([(40, 78), (50, 98), (60, 78)], "gold")
    hull = [(50, 2), (62, 16), (68, 34), (66, 80), (34, 80), (32, 34), (38, 16)]
    if style == "boosters":
        for left in (10, 72):
            pen.paint([(left, 46), (left + 9, 30), (left + 18, 46), (left + 18, 88), (left, 88)], "accent")
    else:
        pen.paint([(34, 52), (34, 80), (12, 92), (14, 72)], "shade")
        pen.paint(mirror([(34, 52), (34, 80), (12, 92), (14, 72)]), "shade")
    pen.paint(hull, inside=inked(bands((28, 54), 12)) if style == "bands" else ())
    if style == "window":
        pen.paint(ellipse(50, 40, 11), "glass")


def balloon(pen: Pen, style: str) -> None:
    """Draw a balloon: for a child's hand, or for a basket."""
    if style == "basket":
        pen.line([(34, 58), (42, 80)])
        pen.line([(66, 58), (58, 80)])
        stripes = [(ellipse(50, 36, 22, 60), "accent"), (ellipse(50, 36, 11, 60), "body")]
        pen.paint([*arc(50, 36, 36, 33, 160, 380), (60, 72), (40, 72)], inside=stripes)
        pen.paint(box(38, 78, 62, 96, 3), "wood")
        return
    pen.line([(50, 70), (44, 82), (54, 90), (50, 98)])
    if style == "heart":
        pen.paint(heart(50, 38, 40))
        return
    pen.paint([(44, 78), (50, 68), (56, 78)])
    pen.paint(ellipse(50, 38, 32, 34), inside=[(ellipse(38, 26, 6, 10), "accent")])


def kite(pen: Pen, style: str) -> None:
    """Draw a kite with its tail."""
    pen.line([(50, 66), (42, 78), (56, 88), (48, 98)])
    if style == "diamond":
        pen.paint([(50, 3), (84, 34), (50, 76), (16, 34)])
        pen.line([(50, 6), (50, 74)], "accent", 6)
        pen.line([(20, 34), (80, 34)], "accent", 6)
    elif style == "delta":
        stripes = inked([*bars((24, 67), 10)])
        pen.paint([(50, 8), (97, 68), (50, 58), (3, 68)], inside=stripes)
    else:
        spots = dots([(50, 22), (36, 38), (64, 38), (50, 54)], 7)
        pen.paint([(30, 6), (70, 6), (88, 38), (70, 70), (30, 70), (12, 38)], inside=inked(spots))
