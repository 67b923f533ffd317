"""The small web's world: its catalogue, and how scenes are drawn at random from it, domain by domain."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import Literal

import numpy as np

from miniweb.catalogue import BACKGROUNDS, COLOURS, KINDS, SPECIES, SPECIES_BY_NAME, Colour, Species
from miniweb.scene import MAX_THINGS, RELATION_GAP, Scene, Size, Thing
from runtime.errors import UserError

__all__ = [
    "BACKGROUNDS",
    "COLOURS",
    "DOMAINS",
    "KINDS",
    "SPECIES",
    "SPECIES_BY_NAME",
    "Colour",
    "Domain",
    "DomainName",
    "LayoutConfig",
    "Species",
    "cell_middles",
    "place",
    "place_again",
    "sample_scene",
]

DomainName = Literal["web", "captioner", "foundation", "benchmark_a", "benchmark_b", "judges", "crowded"]


@dataclass(frozen=True, kw_only=True)
class LayoutConfig:
    """Where things may stand in the central square, and how large they are drawn."""

    grid: int = 2
    """Cells along each side of the central square; each thing has a cell of its own."""
    small_share: float = 0.62
    """Side of a small thing's box as a share of its cell."""
    large_share: float = 0.94
    """Side of a large thing's box as a share of its cell."""
    scale_jitter: float = 0.04
    """Largest relative departure from these sides, so that no two pictures are the same to the pixel."""
    position_jitter: float = 0.25
    """Largest shift from the middle of the cell, as a share of the room left in it; capped so that rows stay level."""

    def __post_init__(self) -> None:
        if self.grid not in (2, 3):
            raise UserError("grid", found=self.grid, wanted="2 or 3 cells along a side")
        if not 0 < self.small_share < self.large_share <= 1 / (1 + self.scale_jitter):
            wanted = "0 < small_share < large_share, and large_share * (1 + scale_jitter) <= 1"
            raise UserError("sizes of things", found=(self.small_share, self.large_share), wanted=wanted)
        if not 0 <= self.position_jitter <= 1:
            raise UserError("position_jitter", found=self.position_jitter, wanted="a share in [0, 1]")

    @property
    def max_shift(self) -> float:
        """Largest shift that keeps level things level and related things related, with room to spare."""
        return min(0.4 * RELATION_GAP, 0.4 * (1 / self.grid - RELATION_GAP))


class Wheel:
    """Names to be drawn with unequal chances."""

    def __init__(self, shares: Mapping[str, float]):
        self._names = tuple(shares)
        self._sums = list(accumulate(shares.values()))

    def pick(self, generator: np.random.Generator) -> str:
        """Draw a name."""
        return self._names[bisect_right(self._sums, generator.random() * self._sums[-1])]


@dataclass(frozen=True, kw_only=True)
class Domain:
    """How often what occurs in one family of pictures. All shares are relative and need not add up to one."""

    num_things_shares: Sequence[float] = (0.42, 0.30, 0.18, 0.10)
    """Of scenes with one, two, three and four things."""
    background_shares: Mapping[str, float] = field(default_factory=lambda: dict.fromkeys(BACKGROUNDS, 1.0))
    kind_shares: Mapping[str, float] = field(default_factory=lambda: dict.fromkeys(KINDS, 1.0))
    large_share: float = 0.75
    """Of large things."""
    repeat_share: float = 0.12
    """Of scenes with two things or more in which one thing has a double: same species, colour and size."""

    def __post_init__(self) -> None:
        if not 1 <= len(self.num_things_shares) <= MAX_THINGS:
            wanted = f"1 to {MAX_THINGS} shares"
            raise UserError("num_things_shares", found=tuple(self.num_things_shares), wanted=wanted)

    @cached_property
    def counts(self) -> Wheel:
        """Numbers of things, as text."""
        return Wheel({str(number + 1): share for number, share in enumerate(self.num_things_shares)})

    @cached_property
    def kinds(self) -> Wheel:
        """Kinds of things."""
        return Wheel(self.kind_shares)

    @cached_property
    def backgrounds(self) -> Wheel:
        """Places."""
        return Wheel(self.background_shares)


_SPECIES_WHEELS = {kind: Wheel({species.name: species.weight for species in SPECIES[kind]}) for kind in KINDS}
_COLOUR_NAMES = tuple(COLOURS)


def _skewed(names: Sequence[str], favoured: Sequence[str], factor: float) -> dict[str, float]:
    return {name: factor if name in favoured else 1.0 for name in names}


_OUTDOORS = ("house", "tree", "boat", "car", "bus", "tent", "kite", "rocket")
_INDOORS = ("cup", "chair", "lamp", "clock", "hat", "guitar", "cat", "ball")

DOMAINS: Mapping[DomainName, Domain] = {
    "web": Domain(),
    # A curated set: tidier (fewer things, most of them large), and from other places than the web.
    "captioner": Domain(
        num_things_shares=(0.42, 0.34, 0.18, 0.06),
        background_shares=_skewed(BACKGROUNDS, ("meadow", "room", "street"), 2.5),
        large_share=0.8,
        repeat_share=0.15,
    ),
    "foundation": Domain(),
    "judges": Domain(num_things_shares=(0.25, 0.25, 0.25, 0.25), large_share=0.5, repeat_share=0.2),
    # Like COCO: several things, everyday places. Like Flickr30K: fewer things, outdoors.
    "benchmark_a": Domain(
        num_things_shares=(0.15, 0.40, 0.30, 0.15),
        background_shares=_skewed(BACKGROUNDS, ("room", "street"), 2.0),
        kind_shares=_skewed(KINDS, _INDOORS, 2.0),
    ),
    "benchmark_b": Domain(
        num_things_shares=(0.25, 0.45, 0.25, 0.05),
        background_shares=_skewed(BACKGROUNDS, ("meadow", "beach", "snow"), 2.0),
        kind_shares=_skewed(KINDS, _OUTDOORS, 2.0),
        large_share=0.75,
    ),
    "crowded": Domain(num_things_shares=(0.0, 0.0, 0.3, 0.7)),
}


def cell_middles(generator: np.random.Generator, num_things: int, grid: int) -> list[tuple[float, float]]:
    """Draw the middles of distinct cells, in reading order; a lone thing may also stand in the very middle."""
    middles = [((column + 0.5) / grid, (row + 0.5) / grid) for row in range(grid) for column in range(grid)]
    if num_things == 1 and generator.random() < 0.5:
        return [(0.5, 0.5)]
    chosen = generator.permutation(len(middles))[:num_things]
    return [middles[index] for index in sorted(chosen)]


def _pick_look(generator: np.random.Generator, domain: Domain, taken: set[str]) -> tuple[Species, str, Size]:
    kind = domain.kinds.pick(generator)
    while kind in taken:
        kind = domain.kinds.pick(generator)
    species = SPECIES_BY_NAME[_SPECIES_WHEELS[kind].pick(generator)]
    colour = _COLOUR_NAMES[int(generator.random() * len(_COLOUR_NAMES))]
    return species, colour, "large" if generator.random() < domain.large_share else "small"


def place(
    generator: np.random.Generator, look: tuple[Species, str, Size], cell: tuple[float, float], layout: LayoutConfig
) -> Thing:
    """Put a thing of the given look into a cell, with the layout's jitter of size and position."""
    species, colour, size = look
    cell_side = 1 / layout.grid
    side_share = layout.large_share if size == "large" else layout.small_share
    scale = cell_side * side_share * (1 + layout.scale_jitter * (2 * generator.random() - 1))
    room = min((cell_side - scale) / 2 * layout.position_jitter, layout.max_shift)
    x, y = (middle + room * (2 * generator.random() - 1) for middle in cell)
    return Thing(species.kind, species.name, colour, size, round(x, 4), round(y, 4), round(scale, 4))


def place_again(generator: np.random.Generator, thing: Thing, cell: tuple[float, float], layout: LayoutConfig) -> Thing:
    """Put an existing thing into a cell, with jitter of its own."""
    return place(generator, (SPECIES_BY_NAME[thing.species], thing.colour, thing.size), cell, layout)


_DEFAULT_LAYOUT = LayoutConfig()


def sample_scene(
    generator: np.random.Generator, domain: DomainName | Domain, layout: LayoutConfig = _DEFAULT_LAYOUT
) -> Scene:
    """Draw a scene at random: kinds differ within a scene, but for doubles, which agree in all but position."""
    rules = DOMAINS[domain] if isinstance(domain, str) else domain
    num_things = int(rules.counts.pick(generator))
    has_double = num_things > 1 and generator.random() < rules.repeat_share
    looks: list[tuple[Species, str, Size]] = []
    for _ in range(num_things - has_double):
        looks.append(_pick_look(generator, rules, {species.kind for species, _, _ in looks}))
    if has_double:
        looks.append(looks[int(generator.integers(len(looks)))])
    order = generator.permutation(num_things)
    cells = cell_middles(generator, num_things, layout.grid)
    things = tuple(place(generator, looks[index], cell, layout) for index, cell in zip(order, cells, strict=True))
    return Scene(rules.backgrounds.pick(generator), things)
