"""From an encoded image to what a captioner's requests carry, or the reason why not."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from PIL import Image

from imagetext.decode import DecodeError, decode

Prepare = Callable[[Image.Image], Any]
"""A captioner's own preparation of an RGB picture."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """One picture, ready for the captioner, or why there is none."""

    picture: Any = None
    error: str | None = None
    """Reason why the picture can't be used; None where it can."""
    decoding_seconds: float = 0.0
    preprocessing_seconds: float = 0.0


def prepare_picture(data: bytes, prepare: Prepare) -> Prepared:
    """Return the prepared picture, or the reason why it can't be decoded or prepared; never raises over a picture."""
    began = time.monotonic()
    try:
        image = decode(data)
    except DecodeError as error:
        return Prepared(error=str(error), decoding_seconds=time.monotonic() - began)
    except MemoryError:
        reason = "needs more memory to decode than there is"
        return Prepared(error=reason, decoding_seconds=time.monotonic() - began)
    decoded = time.monotonic()
    try:
        picture = prepare(image)
    except Exception as error:  # noqa: BLE001 - the per-sample boundary: other rows do not suffer for this one
        reason = f"can't be prepared for the captioner: {type(error).__name__}: {error}"
        return Prepared(error=reason, decoding_seconds=decoded - began)
    return Prepared(picture=picture, decoding_seconds=decoded - began, preprocessing_seconds=time.monotonic() - decoded)
