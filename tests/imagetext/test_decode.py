"""Decoding: every mode becomes upright RGB, every failure a typed reason."""

import io
import pickle
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from imagetext.decode import DecodeError, decode
from tests.imagetext.pictures import encoded, picture


def flat_colour(mode: str, colour: object) -> Image.Image:
    return Image.new(mode, (4, 4), colour)  # type: ignore[arg-type]


def pixel(data: bytes) -> tuple[int, ...]:
    image = decode(data)
    assert image.mode == "RGB"
    return tuple(int(value) for value in np.asarray(image)[1, 1])


@pytest.mark.parametrize("image_format", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_formats_keep_their_pixels(image_format: str) -> None:
    original = picture(1)
    assert np.array_equal(np.asarray(decode(encoded(original, image_format))), np.asarray(original))


def test_cmyk_is_converted() -> None:
    assert pixel(encoded(flat_colour("CMYK", (0, 255, 255, 0)), "TIFF")) == (255, 0, 0)


def test_palette_is_resolved() -> None:
    image = flat_colour("RGB", (10, 200, 30)).convert("P", palette=Image.Palette.ADAPTIVE)
    assert pixel(encoded(image, "PNG")) == (10, 200, 30)


@pytest.mark.parametrize(("value", "expected"), [(0, 0), (65535, 255), (32896, 128), (257 * 7, 7)])
def test_16_bit_is_scaled_not_clipped(value: int, expected: int) -> None:
    image = Image.fromarray(np.full((4, 4), value, dtype=np.uint16))
    assert pixel(encoded(image, "PNG")) == (expected,) * 3


def test_grey_and_black_and_white() -> None:
    assert pixel(encoded(flat_colour("L", 77), "PNG")) == (77, 77, 77)
    assert pixel(encoded(flat_colour("1", 1), "PNG")) == (255, 255, 255)


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("RGBA", (255, 0, 0, 0), (255, 255, 255)),
        ("RGBA", (255, 0, 0, 255), (255, 0, 0)),
        ("RGBA", (255, 0, 0, 51), (255, 204, 204)),
        ("LA", (0, 0), (255, 255, 255)),
    ],
)
def test_transparency_lies_over_white(mode: str, colour: tuple[int, ...], expected: tuple[int, ...]) -> None:
    assert pixel(encoded(flat_colour(mode, colour), "PNG")) == expected


def test_transparent_palette_entry_lies_over_white() -> None:
    image = flat_colour("P", 0)
    image.putpalette([1, 2, 3] * 256)
    assert pixel(encoded(image, "PNG", transparency=0)) == (255, 255, 255)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(orientation: int) -> None:
    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    upright = picture(3)
    stored = upright if orientation == 1 else upright.transpose(turns[orientation])
    exif = Image.Exif()
    exif[274] = orientation
    assert np.array_equal(np.asarray(decode(encoded(stored, "PNG", exif=exif))), np.asarray(upright))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_broken_exif_does_not_lose_the_image() -> None:
    data = encoded(picture(1), "JPEG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff\x00\x00")
    assert decode(data).size == picture(1).size


@pytest.mark.parametrize("image_format", ["GIF", "WEBP", "PNG"])
def test_first_frame_of_an_animation(image_format: str) -> None:
    frames = [flat_colour("RGB", colour) for colour in [(255, 0, 0), (0, 255, 0), (0, 0, 255)]]
    options = {"lossless": True} if image_format == "WEBP" else {}
    assert pixel(encoded(frames[0], image_format, save_all=True, append_images=frames[1:], **options)) == (255, 0, 0)


def reason(data: bytes, **options: int) -> str:
    with pytest.raises(DecodeError) as caught:
        decode(data, **options)
    return caught.value.reason


def test_reasons() -> None:
    jpeg = encoded(picture(1, 64, 64))
    assert reason(b"") == "empty"
    assert reason(b"<html>404</html>") == "not_an_image"
    assert reason(jpeg[: len(jpeg) // 2]) == "truncated"
    assert reason(jpeg, max_pixels=64 * 64 - 1) == "too_many_pixels"
    assert reason(encoded(flat_colour("F", 0.5), "TIFF")) == "unsupported_mode"
    webp = encoded(picture(1, 64, 64), "WEBP")
    assert reason(webp[: len(webp) // 2]) == "damaged"


def test_bound_is_inclusive_and_checked_before_decoding() -> None:
    assert decode(encoded(picture(1, 64, 64)), max_pixels=64 * 64).size == (64, 64)
    header = b"IHDR" + struct.pack(">II", 30_000, 30_000) + bytes([8, 2, 0, 0, 0])
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    assert reason(bomb + struct.pack(">I", 9) + b"IDAT") == "too_many_pixels"


@pytest.mark.parametrize("turned", [False, True])
def test_an_elongated_picture_is_refused_before_it_is_made_a_square(turned: bool) -> None:
    longest, too_long = (1000, 10), (65_000, 1)
    assert decode(encoded(Image.new("RGB", longest[::-1] if turned else longest), "PNG")).size[turned] == 1000
    assert reason(encoded(Image.new("RGB", too_long[::-1] if turned else too_long), "PNG")) == "too_elongated"
    assert reason(encoded(Image.new("RGB", (10, 1001) if turned else (1001, 10)), "PNG")) == "too_elongated"


@pytest.mark.parametrize(
    ("min_side_px", "expected"),
    [
        (None, (160, 96)),
        (97, (160, 96)),
        (96, (160, 96)),
        (48, (80, 48)),
        (25, (80, 48)),
        (24, (40, 24)),
        (5, (20, 12)),
    ],
)
def test_a_jpeg_is_decoded_no_larger_than_asked_for(min_side_px: int | None, expected: tuple[int, int]) -> None:
    data = encoded(picture(3, 160, 96), quality=95)
    reduced, again = (decode(data, min_side_px=min_side_px) for _ in range(2))
    assert reduced.size == expected and reduced.tobytes() == again.tobytes()
    resized = decode(data).resize(expected, Image.Resampling.BOX)
    # A smooth picture: the decoder's own reduction is its mean, but for rounding.
    assert np.abs(np.asarray(reduced, dtype=float) - np.asarray(resized, dtype=float)).max() < 6


def test_other_formats_are_decoded_whole_and_turned_pictures_turned() -> None:
    assert decode(encoded(picture(3, 160, 96), "PNG"), min_side_px=20).size == (160, 96)
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode(encoded(picture(3, 160, 96), exif=exif), min_side_px=48).size == (48, 80)


def test_error_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(DecodeError("truncated", "half")))
    assert (error.reason, str(error)) == ("truncated", "truncated: half")


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow comments on damaged TIFF tags
@settings(max_examples=60, deadline=None)
@given(st.integers(0, 400), st.integers(0, 255), st.sampled_from(["JPEG", "PNG", "GIF", "WEBP", "TIFF"]))
def test_damage_is_never_more_than_a_decode_error(place: int, value: int, image_format: str) -> None:
    data = bytearray(encoded(picture(2), image_format))
    data[place % len(data)] = value
    try:
        image = decode(io.BytesIO(bytes(data)).getvalue(), max_pixels=10_000)
    except DecodeError:
        return
    assert image.mode == "RGB"
