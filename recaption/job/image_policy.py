"""What becomes of encoded pictures before a captioner prepares them, told by what it does to some probes.

A version number would say only what somebody remembered to count up; pixels also tell of another codec on another
machine.
"""

import hashlib
import io
from collections.abc import Iterator

from PIL import Image

from imagetext.decode import decode

_SIZE = (24, 16)
_EXIF_ORIENTATION = 274
_TURNED_LEFT = 6


def identify_image_policy() -> str:
    """Return a digest of decoded probes: JPEG (RGB, CMYK, grey, to be turned), PNG (transparent, 16 bit, palette), GIF,
    WebP.
    """
    digest = hashlib.sha256()
    for data in _probes():
        image = decode(data)
        digest.update(f"{image.mode} {image.size}".encode())
        digest.update(image.tobytes())
    return digest.hexdigest()[:16]


def _probes() -> Iterator[bytes]:
    grey = Image.linear_gradient("L").resize(_SIZE)
    colour = Image.merge("RGB", (grey, grey.transpose(Image.Transpose.ROTATE_180), Image.new("L", _SIZE, 90)))
    turned = Image.Exif()
    turned[_EXIF_ORIENTATION] = _TURNED_LEFT
    yield _encoded(colour, "JPEG", quality=90)
    yield _encoded(colour.convert("CMYK"), "JPEG", quality=90)
    yield _encoded(grey, "JPEG", quality=90)
    yield _encoded(colour, "JPEG", quality=90, exif=turned)
    yield _encoded(Image.merge("RGBA", (*colour.split(), grey)), "PNG")
    yield _encoded(grey.convert("I").point(lambda value: value * 257).convert("I;16"), "PNG")
    yield _encoded(colour.quantize(16), "PNG")
    yield _encoded(colour.quantize(16), "GIF")
    yield _encoded(colour, "WEBP", quality=90)


def _encoded(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()
