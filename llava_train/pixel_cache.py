"""Decoded pictures kept in memory while they fit, since a miniature reads each of them many times."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from imagetext.decode import decode
from llava_train.pixels import PixelGeometry

MAX_CACHE_BYTES = 512 * 2**20
"""Memory that decoded pictures may take; beyond it they are decoded anew each time."""


class PixelCache:
    """Read pictures as pixels; a pure function of the file, faster the second time."""

    def __init__(self, geometry: PixelGeometry, max_bytes: int = MAX_CACHE_BYTES):
        self._geometry = geometry
        self._max_bytes = max_bytes
        self._num_bytes = 0
        self._pixels: dict[Path, UInt8[np.ndarray, "channel height width"]] = {}

    def read(self, path: Path) -> UInt8[np.ndarray, "channel height width"]:
        """Return the pixels of one file; raises DecodeError for a damaged picture, OSError for a missing file."""
        if path in self._pixels:
            return self._pixels[path]
        pixels = self._geometry.prepare(decode(path.read_bytes()))
        if self._num_bytes + pixels.nbytes <= self._max_bytes:
            self._pixels[path] = pixels
            self._num_bytes += pixels.nbytes
        return pixels
