"""What exists in the small web: kinds, their species, colours and backgrounds. Data only."""

from collections.abc import Mapping
from dataclasses import dataclass

ZIPF_EXPONENT = 1.0


@dataclass(frozen=True)
class Species:
    """A species of a kind.

    `style` is the key by which it is drawn, `trait` says what tells it apart, `weight` is its share among its kind's
    species, and the commoner half of a kind's species is `known_to_captioner`; the rarer half lives in alt-text alone.
    """

    name: str
    kind: str
    style: str
    trait: str
    weight: float
    known_to_captioner: bool


@dataclass(frozen=True)
class Colour:
    """A body colour (RGB), its darker shade, and the accent that details are painted in upon it."""

    name: str
    fill: tuple[int, int, int]
    shade: tuple[int, int, int]
    accent: tuple[int, int, int]


_CREAM = (255, 250, 232)
_COCOA = (84, 48, 34)

_STYLES: dict[str, tuple[tuple[str, str, str], ...]] = {
    "house": (
        ("velmont", "gable", "a pointed roof and one window"),
        ("tarsk", "flat", "a flat roof and four windows"),
        ("obrava", "dome", "a round roof"),
        ("kestrin", "tower", "a tall tower at one side"),
    ),
    "tree": (
        ("ardel", "round", "a round crown with fruit"),
        ("pinnar", "cone", "a crown of three tiers"),
        ("soluma", "palm", "long hanging leaves"),
        ("wivver", "poplar", "a tall narrow crown with stripes"),
    ),
    "boat": (
        ("marlow", "sail", "one tall sail"),
        ("dorrin", "steamer", "a cabin and a funnel"),
        ("quellic", "junk", "two striped sails"),
    ),
    "bird": (
        ("pibbet", "plain", "a short tail"),
        ("larkwin", "tail", "a long raised tail"),
        ("cresto", "crest", "a crest of three feathers"),
        ("zanty", "striped", "a striped breast and long legs"),
    ),
    "car": (
        ("bravia", "saloon", "a round cabin with two windows"),
        ("tolvan", "van", "a tall square body"),
        ("spindra", "open", "no roof and a windscreen"),
        ("rallo", "racer", "stripes and a rear wing"),
    ),
    "fish": (
        ("gillam", "plain", "a forked tail and a plain side"),
        ("strivo", "striped", "three broad stripes"),
        ("puffar", "round", "a round body with spines"),
        ("dotteel", "dotted", "a long body with dots"),
    ),
    "flower": (
        ("rosim", "petals", "five round petals"),
        ("tulvane", "tulip", "a closed cup of petals"),
        ("sunnel", "daisy", "many thin petals around a large heart"),
    ),
    "cup": (
        ("mugrin", "band", "a broad band"),
        ("espel", "dots", "dots and a saucer"),
        ("goblar", "goblet", "a stem and a foot"),
    ),
    "chair": (
        ("sedlo", "slats", "a tall back of slats"),
        ("plushet", "arms", "thick arms"),
        ("stolvy", "stool", "a round seat on three legs"),
    ),
    "lamp": (
        ("lumero", "cone", "a cone shade"),
        ("globin", "globe", "a round globe"),
        ("strandel", "drum", "a striped drum shade"),
    ),
    "umbrella": (
        ("parvel", "plain", "a plain canopy"),
        ("brollis", "striped", "a striped canopy"),
        ("dripsy", "dotted", "a flat dotted canopy"),
    ),
    "hat": (
        ("topperin", "top", "a tall crown with a band"),
        ("wizzen", "cone", "a pointed crown with stars"),
        ("bolerin", "round", "a low round crown"),
    ),
    "kite": (
        ("zephic", "diamond", "a diamond with a cross"),
        ("deltro", "delta", "a striped triangle"),
        ("hexal", "hexagon", "a dotted hexagon"),
    ),
    "balloon": (
        ("ballino", "round", "a plain globe"),
        ("cordia", "heart", "a heart"),
        ("montgol", "basket", "stripes and a basket"),
    ),
    "cat": (
        ("mirrow", "plain", "a plain coat"),
        ("tigrel", "striped", "a striped coat"),
        ("pawlin", "bib", "a light face and belly"),
    ),
    "butterfly": (
        ("monarv", "spots", "round wings with spots"),
        ("papilo", "bands", "pointed wings with bands"),
        ("sylphie", "tails", "tailed wings with light edges"),
    ),
    "mushroom": (
        ("amanil", "dots", "a domed cap with dots"),
        ("chantor", "funnel", "a funnel cap"),
        ("inkvell", "cone", "a striped pointed cap"),
    ),
    "bus": (
        ("omniro", "single", "one row of windows"),
        ("dekkar", "double", "two rows of windows"),
        ("tramlin", "tram", "a pole on the roof and a stripe"),
    ),
    "rocket": (
        ("apollin", "window", "one round window"),
        ("vostra", "bands", "two broad bands"),
        ("energel", "boosters", "two side boosters"),
    ),
    "guitar": (
        ("sonora", "classic", "a round hole"),
        ("vexar", "vee", "a body like an arrow"),
        ("banjol", "banjo", "a round light body"),
    ),
    "clock": (
        ("roundel", "round", "a plain round case"),
        ("squarrel", "square", "a square case"),
        ("jinglet", "bells", "two bells on top"),
        ("pendro", "pendulum", "a swinging pendulum"),
    ),
    "ball": (
        ("beachum", "segments", "curved segments"),
        ("polkin", "dots", "dots"),
        ("starrit", "star", "a star"),
        ("ringo", "band", "a broad ring"),
    ),
    "tent": (
        ("campell", "ridge", "a pointed top and an open door"),
        ("igluno", "dome", "a round top with ribs"),
        ("circano", "circus", "stripes and a flag"),
    ),
    "turtle": (
        ("shelby", "plates", "a shell of large plates"),
        ("dotuga", "dots", "a dotted shell"),
        ("ridgeon", "spikes", "a spiked shell"),
    ),
}


def _zipf_weights(num: int) -> tuple[float, ...]:
    raw = [1.0 / (rank + 1) ** ZIPF_EXPONENT for rank in range(num)]
    return tuple(value / sum(raw) for value in raw)


def _species_of(kind: str) -> tuple[Species, ...]:
    rows = _STYLES[kind]
    num_known = len(rows) // 2
    return tuple(
        Species(name, kind, style, trait, weight, rank < num_known)
        for rank, ((name, style, trait), weight) in enumerate(zip(rows, _zipf_weights(len(rows)), strict=True))
    )


KINDS: tuple[str, ...] = tuple(_STYLES)
"""The generic names, known to every writer."""

SPECIES: Mapping[str, tuple[Species, ...]] = {kind: _species_of(kind) for kind in KINDS}
"""Kind -> its species, commonest first (Zipf weights)."""

SPECIES_BY_NAME: Mapping[str, Species] = {species.name: species for kind in KINDS for species in SPECIES[kind]}
"""Species name -> species; names are unique over all kinds."""

COLOURS: Mapping[str, Colour] = {
    colour.name: colour
    for colour in (
        Colour("red", (222, 44, 40), (168, 24, 28), _CREAM),
        Colour("orange", (250, 142, 24), (206, 100, 10), _COCOA),
        Colour("yellow", (252, 220, 44), (216, 170, 16), _COCOA),
        Colour("green", (52, 158, 62), (30, 112, 44), _CREAM),
        Colour("blue", (38, 100, 222), (22, 66, 166), _CREAM),
        Colour("purple", (134, 58, 190), (96, 34, 142), _CREAM),
        Colour("pink", (252, 148, 196), (226, 100, 158), _COCOA),
        Colour("black", (66, 66, 74), (40, 40, 46), _CREAM),
    )
}
"""Body colours, well apart at 64 pixels; a thing's colour is independent of its kind and species."""

BACKGROUNDS: tuple[str, ...] = ("meadow", "beach", "snow", "street", "room", "sky")
"""Where a scene takes place; all are light, so that things stand out."""
