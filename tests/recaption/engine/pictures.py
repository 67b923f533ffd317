"""Pictures and their preparation; decode processes import this and no more."""

import hashlib
import io
import signal
import time

import numpy as np
from PIL import Image

SIDE_PX = 8
SEGFAULT_SIZE = (13, 7)
ENDLESS_SIZE = (17, 7)
UNPREPARABLE_SIZE = (19, 7)


def png(seed: int, size: tuple[int, int] = (9, 6)) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def prepare(image: Image.Image) -> np.ndarray:
    """Return a small square; pictures of some sizes break the process instead."""
    if image.size == SEGFAULT_SIZE:
        # To this thread, at once, as a codec's own fault would come.
        signal.raise_signal(signal.SIGSEGV)
    if image.size == ENDLESS_SIZE:
        time.sleep(3600)
    if image.size == UNPREPARABLE_SIZE:
        raise ValueError("what a shape")
    return np.asarray(image.resize((SIDE_PX, SIDE_PX)))


def digest(data: bytes) -> str:
    """Return how the captioner names an encoded picture."""
    return name_of(prepare(Image.open(io.BytesIO(data)).convert("RGB")))


def name_of(picture: np.ndarray) -> str:
    return hashlib.sha256(picture.tobytes()).hexdigest()[:8]
