"""One cached picture per species and colour."""

from collections.abc import Callable, Mapping
from functools import cache

from PIL import Image

from miniweb.art import buildings, creatures, household
from miniweb.art.pen import SHEET_PX, Pen
from miniweb.catalogue import COLOURS, SPECIES_BY_NAME

_ARTISTS: Mapping[str, Callable[[Pen, str], None]] = {
    artist.__name__: artist
    for artist in (
        buildings.house, buildings.tent, buildings.boat, buildings.car, buildings.bus, buildings.rocket,
        buildings.balloon, buildings.kite,
        creatures.tree, creatures.bird, creatures.fish, creatures.flower, creatures.cat, creatures.butterfly,
        creatures.mushroom, creatures.turtle,
        household.cup, household.chair, household.lamp, household.umbrella, household.hat, household.guitar,
        household.clock, household.ball,
    )
}  # fmt: skip
_LEVELS_PX = (SHEET_PX, SHEET_PX // 2, SHEET_PX // 4)


@cache
def _sheets(species: str, colour: str) -> tuple[Image.Image, ...]:
    row = SPECIES_BY_NAME[species]
    pen = Pen(COLOURS[colour])
    _ARTISTS[row.kind](pen, row.style)
    return tuple(pen.image.resize((side, side), Image.Resampling.BOX) for side in _LEVELS_PX)


def sprite(species: str, colour: str, side_px: int) -> Image.Image:
    """Return the species in the colour, RGBA, `side_px` on a side, smoothed from a sheet at least twice as large."""
    levels = [sheet for sheet in _sheets(species, colour) if sheet.width >= 2 * side_px]
    source = levels[-1] if levels else _sheets(species, colour)[0]
    return source.resize(
        (side_px, side_px), Image.Resampling.BOX if source.width == side_px else Image.Resampling.BICUBIC
    )
