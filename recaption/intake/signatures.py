"""What two pictures of one look have in common: where they get brighter, and their coarse colours.

A difference hash (Krawetz 2013) of 16 x 16 with a dead zone, so that flat parts and their noise give no bits, and the
mean colours of 4 x 4 parts, since outlines alone can't tell a red boat from a blue one.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from PIL import Image

SIDE = 16
COLOUR_SIDE = 4
DEAD_ZONE = 3
"""Grey levels of 255 by which a part must be brighter than its left neighbour."""
COLOUR_LEVELS_MAX = 16
"""Levels of 255 by which mean colours of pictures of one look differ at most."""
BAND_BYTES = 4
"""Two pictures are compared only where one of the eight bands of 32 bits is the same in both: with a random twentieth
of all bits changed that holds for four pairs of five, with a hundredth for all but one in ten thousand."""


@dataclass(frozen=True)
class Signature:
    """The outlines of a picture in 256 bits, and its colours in 48 bytes."""

    bits: bytes
    colours: bytes

    @property
    def bands(self) -> list[bytes]:
        """Return the bits in parts, each marked by its place."""
        starts = range(0, len(self.bits), BAND_BYTES)
        return [bytes([start]) + self.bits[start : start + BAND_BYTES] for start in starts]

    def distance_bits(self, other: "Signature") -> int:
        """Return in how many bits the outlines differ."""
        return (int.from_bytes(self.bits) ^ int.from_bytes(other.bits)).bit_count()

    def looks_like(self, other: "Signature", near_bits: int) -> bool:
        """Tell whether two pictures look the same."""
        if self.distance_bits(other) > near_bits:
            return False
        return all(abs(one - two) <= COLOUR_LEVELS_MAX for one, two in zip(self.colours, other.colours, strict=True))


def signature(image: Image.Image) -> Signature:
    """Return the signature of an RGB picture."""
    grey = np.asarray(image.convert("L").resize((SIDE + 1, SIDE), Image.Resampling.BOX), dtype=np.int16)
    brighter = grey[:, 1:] - grey[:, :-1] > DEAD_ZONE
    colours = _pixels(image.resize((COLOUR_SIDE, COLOUR_SIDE), Image.Resampling.BOX))
    return Signature(np.packbits(brighter).tobytes(), colours.tobytes())


def _pixels(image: Image.Image) -> UInt8[np.ndarray, "height width channel"]:
    return np.asarray(image)
