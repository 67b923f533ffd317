"""When a picture shows what a prompt of GenEval asks for, from the boxes that a detector found in it."""

from collections.abc import Mapping, Sequence

import numpy as np

from eval.geneval.prompts import Demand, GenEvalPrompt

Box = Sequence[int | float]
"""Left, top, right, bottom in pixels, and further numbers that are not read (the detector's confidence)."""
Found = Mapping[str, Sequence[Box]]
"""Boxes by class, the most confident first."""

SLACK = 0.1
"""Share of both things' sizes by which centres must be apart before they count as beside each other."""
DIRECTION = 0.5
"""Share of the distance that a direction must have: 30 degrees off still counts."""
TOUCHING_PX = 1e-3


def relations(first: Box, second: Box) -> frozenset[str]:
    """Return how the first thing lies to the second: none, one or two of left of, right of, above, below."""
    corners = np.array([first[:4], second[:4]], dtype=np.float64).reshape(2, 2, 2)
    centres = corners.mean(axis=1)
    sizes = np.abs(corners[:, 1] - corners[:, 0])
    offset = centres[0] - centres[1]
    apart = np.maximum(np.abs(offset) - SLACK * sizes.sum(axis=0), 0.0) * np.sign(offset)
    if (np.abs(apart) < TOUCHING_PX).all():
        return frozenset()
    right, down = apart / np.linalg.norm(offset)
    held = {"left of": right < -DIRECTION, "right of": right > DIRECTION,
            "above": down < -DIRECTION, "below": down > DIRECTION}  # fmt: skip
    return frozenset(name for name, holds in held.items() if holds)


def shows_all(prompt: GenEvalPrompt, found: Found, colours_hold: bool) -> bool:
    """Tell whether boxes meet a prompt: enough things, well placed, and not too many of what must be few.

    Colours are not in boxes: `colours_hold` says what the colour classifier found. As published, only the `count` most
    confident things of a class are looked at, and each of them must lie as asked to each of those it refers to.
    """
    matched: list[Sequence[Box] | None] = [None] * len(prompt.include)
    for place, demand in enumerate(prompt.include):
        matched[place] = _matched(demand, found, matched)
    enough = all(boxes is not None for boxes in matched)
    few = all(len(found.get(demand.thing, ())) < demand.count for demand in prompt.exclude)
    return enough and few and colours_hold


def _matched(demand: Demand, found: Found, matched: Sequence[Sequence[Box] | None]) -> Sequence[Box] | None:
    boxes = found.get(demand.thing, ())[: demand.count]
    if len(boxes) < demand.count:
        return None
    if demand.position is None:
        return boxes
    relation, target = demand.position
    others = matched[target]
    placed = others is not None and all(relation in relations(box, other) for box in boxes for other in others)
    return boxes if placed else None
