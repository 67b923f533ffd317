"""How often pictures that were drawn apart are taken for one, and how often one is found again that was changed."""

import io
import time
from collections.abc import Mapping
from dataclasses import dataclass

from PIL import Image

from benchmarks.pictures import draw_pairs
from recaption.intake.likeness import SeenPictures
from recaption.intake.signatures import Signature, signature
from runtime.tables import markdown_table

ABOUT = """\
Pictures of the small web, each drawn by itself: few things on few kinds of backgrounds, so that many are nearly alike,
harder to tell apart than photographs. Merged: a picture that is taken for an earlier one though it was drawn apart.
Found: a picture that was changed and is taken for what it was made from; wrong: for another. The last line is the time
that a signature takes on one core, the decoded picture given."""

NEAR_BITS = (6, 12, 20)
CHANGES: Mapping[str, tuple[float, int]] = {
    "quality 60": (1.0, 60),
    "3/4 of the size, quality 50": (0.75, 50),
    "half the size, quality 85": (0.5, 85),
}
"""Scale and JPEG quality."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """How many pictures, and how large."""

    num_pictures: int = 1500
    num_changed: int = 300
    width_px: int = 384
    height_px: int = 288


SIZES = {"full": Size(), "tiny": Size(num_pictures=30, num_changed=10, width_px=128, height_px=96)}


@dataclass(frozen=True, kw_only=True)
class Score:
    """What one limit comes to."""

    near_bits: int
    num_merged: int
    found: Mapping[str, int]
    """Changed pictures that were found, by the change."""
    wrong: int
    """Changed pictures taken for another, over all changes."""


def score(size: Size) -> list[Score]:
    """Return what each limit comes to, over the same pictures."""
    pictures = [pair.image for pair in draw_pairs(size.num_pictures, size.width_px, size.height_px)]
    signatures = [signature(picture) for picture in pictures]
    changed = {
        name: [signature(_changed(picture, *change)) for picture in pictures[: size.num_changed]]
        for name, change in CHANGES.items()
    }
    return [_score(near_bits, signatures, changed) for near_bits in NEAR_BITS]


def measure(size: Size, repeats: int) -> str:
    """Return a table by limit, and the time a signature takes."""
    headers = ("near_bits", "merged", *(f"found, {name}" for name in CHANGES), "wrong")
    rows = [
        (
            one.near_bits,
            f"{one.num_merged} of {size.num_pictures}",
            *(f"{100 * one.found[name] / size.num_changed:.0f} %" for name in CHANGES),
            one.wrong,
        )
        for one in score(size)
    ]
    seconds = min(_seconds(size) for _ in range(repeats))
    return f"{markdown_table(headers, rows)}\n{1e6 * seconds:.0f} microseconds a signature.\n"


def _score(near_bits: int, signatures: list[Signature], changed: Mapping[str, list[Signature]]) -> Score:
    seen, num_merged, originals = SeenPictures(near_bits), 0, dict[str, str]()
    for place, each in enumerate(signatures):
        earlier = seen.find(each)
        # A picture that was merged is found again where it was merged to.
        originals[str(place)] = str(place) if earlier is None else earlier[0]
        num_merged += earlier is not None
        if earlier is None:
            seen.add(str(place), each)
    found, wrong = dict.fromkeys(changed, 0), 0
    for name, others in changed.items():
        for place, each in enumerate(others):
            earlier = seen.find(each)
            found[name] += earlier is not None and earlier[0] == originals[str(place)]
            wrong += earlier is not None and earlier[0] != originals[str(place)]
    return Score(near_bits=near_bits, num_merged=num_merged, found=found, wrong=wrong)


def _changed(picture: Image.Image, scale: float, quality: int) -> Image.Image:
    width, height = (max(1, round(scale * side)) for side in picture.size)
    buffer = io.BytesIO()
    picture.resize((width, height), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def _seconds(size: Size) -> float:
    pictures = [pair.image for pair in draw_pairs(min(30, size.num_pictures), size.width_px, size.height_px)]
    began = time.perf_counter()
    for picture in pictures:
        signature(picture)
    return (time.perf_counter() - began) / len(pictures)
