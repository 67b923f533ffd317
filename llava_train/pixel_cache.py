"""Decoded pictures kept in memory while they fit, since a miniature reads each of them many times."""

import numpy as np
from jaxtyping import UInt8

from imagetext.decode import decode
from imagetext.picture_store import PictureStore
from llava_train.pixels import PixelGeometry

MAX_CACHE_BYTES = 512 * 2**20
"""Memory that one training process and its workers may take for decoded pictures; what is beyond is decoded anew each
time.
"""


class PixelCache:
    """Read pictures as pixels; a pure function of the file, faster the second time."""

    def __init__(self, geometry: PixelGeometry, pictures: PictureStore, max_bytes: int = MAX_CACHE_BYTES):
        self._geometry = geometry
        self._pictures = pictures
        self._bytes_left = max_bytes
        self._pixels: dict[str, UInt8[np.ndarray, "channel height width"]] = {}

    def read(self, name: str) -> UInt8[np.ndarray, "channel height width"]:
        """Return the pixels of one picture; raises DecodeError for one that is missing or damaged."""
        if name in self._pixels:
            return self._pixels[name]
        pixels = self._geometry.prepare(decode(self._pictures.read(name)))
        if pixels.nbytes <= self._bytes_left:
            self._pixels[name] = pixels
            self._bytes_left -= pixels.nbytes
        return pixels
