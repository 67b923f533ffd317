"""What stands, hangs or lies about indoors."""

from miniweb.art.pen import Pen, inked
from miniweb.art.shapes import Point, Shape, arc, around, bars, box, dots, ellipse, rotate, star


def cup(pen: Pen, style: str) -> None:
    """Draw a cup."""
    if style == "goblet":
        pen.paint(box(45, 50, 55, 88), "shade")
        pen.paint(box(26, 86, 74, 95, 4))
        pen.paint([(16, 6), (84, 6), *arc(50, 24, 34, 36, 0, 180)])
        pen.paint(ellipse(50, 8, 34, 5), "accent")
        return
    pen.rod(arc(74, 48, 17, 17, -80, 80), "body", 6)
    side = [(10, 18), (78, 18), (72, 86), (16, 86)]
    if style == "dots":
        pen.paint(ellipse(46, 88, 44, 8), "accent")
        pen.paint(side, inside=inked(dots([(28, 36), (58, 36), (43, 52), (28, 70), (58, 70)], 7)))
    else:
        pen.paint(side, inside=inked([box(0, 44, 100, 62)]))


def chair(pen: Pen, style: str) -> None:
    """Draw a chair seen from the front."""
    if style == "stool":
        for x_from, x_to in ((34, 18), (50, 50), (66, 82)):
            pen.line([(x_from, 40), (x_to, 94)], "dark", 7)
        pen.paint(ellipse(50, 32, 42, 16))
        return
    if style == "arms":
        for x in (22, 78):
            pen.line([(x, 84), (x, 95)], "dark", 7)
        pen.paint(box(18, 10, 82, 66, 14))
        pen.paint(box(4, 42, 28, 86, 9), "shade")
        pen.paint(box(72, 42, 96, 86, 9), "shade")
        pen.paint(box(24, 56, 76, 86, 6), "accent")
        return
    for x in (24, 76):
        pen.line([(x, 60), (x, 95)], "dark", 7)
    back = box(20, 4, 80, 60, 4)
    pen.paint(back, inside=inked(bars((31, 46, 61), 9, 14, 60)))
    pen.paint(box(12, 56, 88, 72, 4))


def lamp(pen: Pen, style: str) -> None:
    """Draw a table lamp; its shade has the colour."""
    pen.rod([(50, 50), (50, 86)], "metal", 4)
    pen.paint(box(28, 86, 72, 96, 4), "metal")
    if style == "cone":
        pen.paint([(40, 6), (60, 6), (90, 56), (10, 56)])
    elif style == "globe":
        pen.paint(ellipse(50, 34, 30), inside=[(ellipse(40, 24, 8, 8), "accent")])
    else:
        pen.paint(box(14, 8, 86, 56), inside=inked(bars((25, 45, 65), 10)))


def umbrella(pen: Pen, style: str) -> None:
    """Draw an open umbrella."""
    pen.line([(50, 50), (50, 86), *arc(58, 86, 8, 8, 180, 20)], "dark", 6)
    if style == "dotted":
        pen.paint(
            [(4, 56), (18, 30), (50, 18), (82, 30), (96, 56)],
            inside=inked(dots([(50, 32), (30, 44), (70, 44), (50, 56), (12, 52), (88, 52)], 6)),
        )
        return
    scallops: list[Point] = []
    for cx in (80.7, 50, 19.3):
        scallops += arc(cx, 54, 15.3, 8, 0, -180)
    canopy = [*arc(50, 54, 46, 46, 180, 360), *scallops]
    wedges: list[Shape] = [[(50, 4), (left, 60), (left + 13, 60)] for left in (-7, 22, 65)]
    wedges.append([(50, 4), (100, 38), (100, 60)])
    pen.paint(canopy, inside=inked(wedges) if style == "striped" else ())


def hat(pen: Pen, style: str) -> None:
    """Draw a hat."""
    if style == "top":
        pen.paint([(26, 10), (74, 10), (70, 76), (30, 76)], inside=inked([box(0, 54, 100, 68)]))
        pen.paint(ellipse(50, 80, 45, 11))
    elif style == "cone":
        stars = [star(48, 40, 10), star(40, 64, 9), star(62, 66, 9)]
        pen.paint([(54, 2), (80, 82), (20, 82)], inside=inked(stars))
        pen.paint(ellipse(50, 84, 46, 10))
    else:
        pen.paint([*arc(50, 70, 32, 44, 180, 360)])
        pen.paint(ellipse(50, 72, 46, 11), "shade")


def guitar(pen: Pen, style: str) -> None:
    """Draw a guitar leaning to the right."""

    def lean(shape: Shape) -> Shape:
        return [(x - 3, y) for x, y in rotate(shape, 22)]

    pen.paint(lean(box(44, 12, 56, 54)), "wood")
    pen.paint(lean(box(40, 3, 60, 18, 2)), "dark")
    if style == "classic":
        waist = [*arc(50, 52, 23, 17, 180, 360), *arc(50, 70, 31, 25, -25, 205)]
        pen.paint(lean(waist))
        pen.paint(lean(ellipse(50, 60, 9)), "accent")
    elif style == "vee":
        pen.paint(lean([(40, 40), (60, 40), (84, 80), (73, 89), (50, 70), (26, 92), (17, 80)]))
    else:
        pen.paint(lean(ellipse(50, 66, 31)))
        pen.paint(lean(ellipse(50, 66, 18)), "white")
    pen.line(lean([(50, 18), (50, 76)]), "white" if style != "banjo" else "dark", 2.5)


def clock(pen: Pen, style: str) -> None:
    """Draw a clock; its case has the colour."""
    cy = 54.0
    if style == "bells":
        for x in (24, 76):
            pen.line([(x, 80), (x - 6 if x < 50 else x + 6, 96)], "dark", 7)
            pen.paint(ellipse(x, 20, 15), "accent")
        case = ellipse(50, cy, 38)
    elif style == "square":
        cy = 50.0
        case = box(8, 8, 92, 92, 6)
    elif style == "pendulum":
        cy = 34.0
        pen.line([(50, 60), (58, 86)], "dark", 5)
        pen.paint(ellipse(58, 86, 11), "accent")
        case = [(50, 2), (86, 26), (80, 66), (20, 66), (14, 26)]
    else:
        cy = 50.0
        case = ellipse(50, 50, 44)
    pen.paint(case)
    radius = 19 if style == "pendulum" else 26
    pen.paint(ellipse(50, cy, radius), "white")
    pen.line([(50, cy - radius * 0.72), (50, cy), (50 + radius * 0.5, cy + radius * 0.3)], "dark", 4.5)


def ball(pen: Pen, style: str) -> None:
    """Draw a ball."""
    details: dict[str, list[Shape]] = {
        "segments": [
            [(50, 4), *arc(50, 50, 20, 46, -90, 90), (50, 96), *arc(50, 50, 46, 46, 90, -90)],
            [(50, 4), *arc(50, 50, 34, 46, 270, 90), *arc(50, 50, 10, 46, 90, 270)],
        ],
        "dots": dots([(50, 50), *around(50, 50, 29, 5)], 9),
        "star": [star(50, 52, 30)],
        "band": [rotate(box(-10, 38, 110, 62), -25)],
    }
    pen.paint(ellipse(50, 50, 45), inside=inked(details[style]))
