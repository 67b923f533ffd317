"""What kind of file a picture is, told by its first bytes: names in the wild lie."""

_SIGNATURES = (
    (b"\xff\xd8\xff", "jpg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"GIF8", "gif"),
    (b"BM", "bmp"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
)
_UNKNOWN = "jpg"


def extension_of(image: bytes) -> str:
    """Return the extension for a picture's bytes; "jpg" for a kind that is not known."""
    if image[:4] == b"RIFF" and image[8:12] == b"WEBP":
        return "webp"
    return next((extension for signature, extension in _SIGNATURES if image.startswith(signature)), _UNKNOWN)
