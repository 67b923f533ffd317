"""A shard of 1,000 rows of which 50 are hostile, in img2dataset's layout but as nobody's writer would leave it."""

import io
import json
import struct
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
from PIL import Image

NUM_ROWS = 1000
NUM_CUT = 8
"""Rows at the end whose samples the cut tar has lost."""
TAR_BLOCK_BYTES = 512


@dataclass(frozen=True, kw_only=True)
class Oddity:
    """One kind of hostile row: what its picture is, and the status that it must end with."""

    data: bytes
    status: str
    caption: bytes | None = None
    has_json: bool = True


def photo(seed: int, size: tuple[int, int] = (12, 10)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8))


def encoded(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _bomb() -> bytes:
    """A PNG of 30,000 x 30,000 by its header."""
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", len(header)) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    return b"\x89PNG\r\n\x1a\n" + chunk + b"\0" * 64


def _turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(photo(900), exif=exif)


def _flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]


def oddities() -> list[Oddity]:
    """Return the kinds whose pictures are in the tar."""
    good, large = encoded(photo(901)), encoded(photo(902, (64, 64)))
    sixteen = Image.fromarray(np.random.default_rng(0).integers(0, 65535, (9, 9), dtype=np.uint16))
    frames = [photo(903 + index).quantize() for index in range(3)]
    ok, bad = "success", "failed_to_decode"
    return [
        Oddity(data=large[: len(large) // 2], status=bad),
        Oddity(data=b"", status=bad),
        Oddity(data=b"<html>404 Not Found</html>", status=bad),
        Oddity(data=b"no picture at all, only words", status=bad),
        Oddity(data=encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]), status=ok),
        Oddity(data=encoded(photo(1, (1, 1)), "PNG"), status=ok),
        Oddity(data=encoded(Image.new("RGB", (50_000, 1), "red"), "PNG"), status=bad),
        Oddity(data=encoded(photo(2).convert("CMYK")), status=ok),
        Oddity(data=encoded(photo(3).quantize(), "PNG"), status=ok),
        Oddity(data=encoded(sixteen, "PNG"), status=ok),
        Oddity(data=_turned(), status=ok),
        Oddity(data=_bomb(), status=bad),
        Oddity(data=encoded(photo(4), "PNG"), status=ok),
        Oddity(data=encoded(photo(5).convert("RGBA"), "PNG"), status=ok),
        Oddity(data=_flipped(encoded(photo(6, (40, 40)), "PNG"), 60), status=bad),
        Oddity(data=encoded(Image.fromarray(np.ones((5, 5), dtype=np.float32)), "TIFF"), status=bad),
        Oddity(data=encoded(photo(7).convert("L")), status=ok),
        Oddity(data=encoded(photo(8), "WEBP"), status=ok),
        Oddity(data=good, status=ok, caption=b"caf\xe9 \xff\xfe"),
        Oddity(data=good, status=ok, has_json=False),
    ]


def hostile_places() -> dict[int, Oddity]:
    """Return 40 places in the unit and what stands there."""
    kinds = oddities()
    return {13 + 24 * count: kinds[count % len(kinds)] for count in range(40)}


def doubled_places() -> set[int]:
    """Return two places whose rows bear the key of the row before them."""
    return {500, 777}


def key_of(place: int) -> str:
    return f"{place - 1 if place in doubled_places() else place:09d}"


def write_hostile(folder: Path) -> dict[int, str]:
    """Write the hostile shard; return the status that each hostile place must end with."""
    odd = hostile_places()
    expected = {place: oddity.status for place, oddity in odd.items()}
    expected |= dict.fromkeys(doubled_places(), "duplicate_key")
    expected |= dict.fromkeys(range(NUM_ROWS - NUM_CUT, NUM_ROWS), "missing_from_tar")
    assert len(expected) == 50
    samples = [odd.get(place, Oddity(data=encoded(photo(place)), status="success")) for place in range(NUM_ROWS)]
    _write(folder, samples, cut=True)
    return expected


def write_healthy(folder: Path) -> None:
    """Write the same shard with plain pictures in the places of the hostile ones, and its tar whole."""
    odd = hostile_places()
    dummy = encoded(Image.new("RGB", (12, 10), "grey"))
    pictures = [dummy if place in odd else encoded(photo(place)) for place in range(NUM_ROWS)]
    _write(folder, [Oddity(data=data, status="success") for data in pictures], cut=False)


def _write(folder: Path, samples: list[Oddity], *, cut: bool) -> None:
    folder.mkdir(parents=True)
    tar = folder / "00000.tar"
    last_kept_bytes = 0
    with tarfile.open(tar, "w", format=tarfile.PAX_FORMAT) as file:
        for place, sample in enumerate(samples):
            name = key_of(place) if cut else f"{place:09d}"
            if place == NUM_ROWS - NUM_CUT:
                last_kept_bytes = file.offset
            _add(file, f"{name}.jpg", sample.data)
            caption = f"alt {place}".encode() if sample.caption is None else sample.caption
            _add(file, f"{name}.txt", caption)
            if sample.has_json:
                _add(file, f"{name}.json", json.dumps({"uid": f"uid-{place}"}).encode())
    if cut:
        # In the middle of a picture, as an interrupted download leaves it.
        tar.write_bytes(tar.read_bytes()[: last_kept_bytes + TAR_BLOCK_BYTES + 100])
    keys = [key_of(place) if cut else f"{place:09d}" for place in range(len(samples))]
    table = pyarrow.table({"key": keys, "status": ["success"] * len(keys)})
    pyarrow.parquet.write_table(table, folder / "00000.parquet")
    (folder / "00000_stats.json").write_text(json.dumps({"count": len(keys), "successes": len(keys)}))


def _add(file: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    file.addfile(member, io.BytesIO(data))
