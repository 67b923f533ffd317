"""From encoded bytes to an upright RGB image, or a typed reason why not."""

import io
import warnings

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

MAX_PIXELS = 178_956_970
"""Pixels above which an image is refused unread: Pillow's own limit for decompression bombs, which it never lifts."""
MAX_ASPECT_RATIO = 100
"""Longer over shorter side above which an image is refused unread: as a square it would need gigabytes."""
_BACKGROUND = (255, 255, 255)
_EXIF_ORIENTATION = 274


class DecodeError(ValueError):
    """Say why an image can't be decoded; `reason` is a short word to count by."""

    def __init__(self, reason: str, detail: str = ""):
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}" if detail else reason)

    def __reduce__(self) -> tuple[type["DecodeError"], tuple[str, str]]:
        return DecodeError, (self.reason, self.detail)


def decode(data: bytes, max_pixels: int = MAX_PIXELS, min_side_px: int | None = None) -> Image.Image:
    """Return the RGB image in `data`, turned upright by its EXIF orientation; of an animation, the first frame.

    Transparency is laid over white, 16-bit samples are scaled to 8 bit, CMYK and palettes are converted. With
    `min_side_px` a JPEG comes out at 1/8, 1/4 or 1/2 of its size, the smallest of them whose shorter side still has so
    many pixels: its decoder leaves the rest undone, which is not what resizing the whole would give.

    Raises:
        DecodeError: "empty", "not_an_image", "too_many_pixels", "too_elongated", "truncated", "unsupported_mode" or
            "damaged".
    """
    if not data:
        raise DecodeError("empty")
    try:
        image = _open(data, max_pixels)
        if min_side_px is not None:
            image.draft(None, (min_side_px, min_side_px))
        image.load()
        return _to_rgb(_upright(image))
    except DecodeError:
        raise
    except Image.DecompressionBombError as error:
        raise DecodeError("too_many_pixels", str(error)) from None
    except UnidentifiedImageError:
        raise DecodeError("not_an_image", f"{len(data)} bytes") from None
    except Exception as error:  # noqa: BLE001 - codecs raise anything on damaged data: this is the per-sample boundary
        reason = "truncated" if "truncated" in str(error).lower() else "damaged"
        raise DecodeError(reason, f"{type(error).__name__}: {error}") from None


def _open(data: bytes, max_pixels: int) -> Image.Image:
    with warnings.catch_warnings():
        # Pillow warns from half its limit on; ours is `max_pixels`.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        image = Image.open(io.BytesIO(data))
    width, height = image.size
    if width * height > max_pixels:
        raise DecodeError("too_many_pixels", f"{width} x {height}, at most {max_pixels}")
    if max(width, height) > MAX_ASPECT_RATIO * min(width, height):
        raise DecodeError("too_elongated", f"{width} x {height}, at most {MAX_ASPECT_RATIO} to 1")
    return image


def _upright(image: Image.Image) -> Image.Image:
    # Reading EXIF costs more than decoding a small image, and most images have none.
    if "exif" not in image.info and image.format not in ("TIFF", "MPO"):
        return image
    try:
        turned = ImageOps.exif_transpose(image)
    except Exception:  # noqa: BLE001 - broken EXIF is no reason to lose a good image
        return image
    return turned


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        return _from_16_bit(image)
    if image.mode == "F":
        raise DecodeError("unsupported_mode", "floating-point samples have no agreed range")
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        layer = image.convert("RGBA")
        canvas = Image.new("RGBA", layer.size, (*_BACKGROUND, 255))
        return Image.alpha_composite(canvas, layer).convert("RGB")
    return image.convert("RGB")


def _from_16_bit(image: Image.Image) -> Image.Image:
    samples = np.asarray(image).astype(np.int64)
    if samples.min() < 0 or samples.max() > np.iinfo(np.uint16).max:
        raise DecodeError("unsupported_mode", f"32-bit samples from {samples.min()} to {samples.max()}")
    # 257 maps 65535 to 255 and 0 to 0.
    return Image.fromarray((samples // 257).astype(np.uint8), mode=None).convert("RGB")
