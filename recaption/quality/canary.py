"""Pictures asked about before a worker begins: a captioner that does not look at them says what gives it away.

Asked are some pictures, the same ones in another order, each with its parts in other places, and blank ones. One whose
projector, tower or quantisation is broken says the same of all; one whose answers go to other rows does not say the
same twice; one with another tokenizer says nothing sensible or, of pictures with known captions, not these.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np
from PIL import Image

from imagetext.caption_flags.finding import defects_among, find_flags
from imagetext.caption_flags.names import CUT_OFF
from imagetext.decode import DecodeError, decode
from imagetext.statistics import split_words
from recaption.captioners.base import Answered, Captioner, Item, Request, UnitEnd
from recaption.config import RecaptionConfig
from recaption.inputs.units import InputRow, Unit
from recaption.prompts import prompts_without_condition
from runtime import seeds
from runtime.errors import UserError

TILES = 4
"""Tiles a side that a picture is cut into and put together from otherwise."""
BLANK_LEVELS = (0, 128, 255)
BLANK_SIDE_PX = 224
ROWS_LOOKED_AT = 8
"""Rows read in search of each picture: some are copies of others, or can't be decoded."""
FIX = "Look at the model's files and precision. If the pictures are alike in truth, pass --canary.pictures 0"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a captioner said of the canary's pictures, place by place; None where it gave no answer."""

    first: Sequence[str | None]
    """Of the pictures as they are."""
    again: Sequence[str | None]
    """Of the same ones, asked in the opposite order."""
    scattered: Sequence[str | None]
    """Of each with its parts in other places."""
    blank: Sequence[str | None]


def refuse_blind(config: RecaptionConfig, captioner: Captioner, units: Iterator[Unit]) -> Iterator[Unit]:
    """Ask a captioner about the canary's pictures before the first unit is taken; return all units.

    Pictures are those of `canary.known`, or the first ones of the first unit; where that has too few, nothing is asked.
    Raises UserError for a captioner that gives itself away (`find_faults`).
    """
    if not config.canary.pictures:
        return units
    first = next(units, None)
    if first is None:
        return units
    captions: list[str] = []
    if config.canary.known is not None:
        pictures, captions = read_known(config.canary.known, config.canary.pictures)
    else:
        pictures = _distinct_pictures(first, config.canary.pictures)
    if len(pictures) == config.canary.pictures:
        found = list(find_faults(config, ask(config, captioner, pictures), captions))
        if found:
            raise UserError("the captioner failed its canary", where=config.model, found="; ".join(found), fix=FIX)
    return chain([first], units)


def ask(config: RecaptionConfig, captioner: Captioner, pictures: Sequence[Image.Image]) -> Asked:
    """Ask the job's first prompt, without a row's own text, about some pictures and what is made of them."""
    blanks = [Image.new("RGB", (BLANK_SIDE_PX, BLANK_SIDE_PX), (level,) * 3) for level in BLANK_LEVELS]
    scattered = [scatter(picture, place) for place, picture in enumerate(pictures)]
    count = len(pictures)
    # A row's draws follow its key: a picture has one wherever it is asked.
    keys = [*range(count), *reversed(range(count)), *range(count), *range(count, count + len(blanks))]
    shown = [*pictures, *reversed(pictures), *scattered, *blanks]
    said = _answers(config, captioner, [captioner.prepare(picture) for picture in shown], keys)
    return Asked(
        first=said[:count],
        again=said[count : 2 * count][::-1],
        scattered=said[2 * count : 3 * count],
        blank=said[3 * count :],
    )


def find_faults(config: RecaptionConfig, asked: Asked, known: Sequence[str] = ()) -> Iterator[str]:
    """Yield what a captioner's answers give away; `known` are the pictures' true captions, if there are any."""
    first = [plain(text) for text in asked.first]
    answered = [text for text in first if text is not None]
    if len(answered) < 2:
        return
    commonest = max(answered.count(text) for text in answered)
    if commonest > len(first) / 2:
        yield f"one caption for {commonest} of {len(first)} pictures: {_quoted(asked.first)}"
        return
    blank = {plain(text) for text in asked.blank}
    as_blank = sum(text in blank for text in answered)
    if as_blank > len(first) / 2:
        yield f"the caption of a blank picture for {as_blank} of {len(first)} pictures"
    if first == [plain(text) for text in asked.scattered]:
        yield "the same captions for pictures with their parts in other places"
    if (agreeing := _num_nearest(asked.again, asked.first)) < len(first) / 2:
        yield f"asked twice, it says the like of {agreeing} of {len(first)} pictures"
    unfit = sum(_is_unfit(config, text) for text in asked.first if text is not None)
    if unfit > len(first) / 2:
        yield f"captions with defects for {unfit} of {len(first)} pictures, such as {_quoted(asked.first)}"
    if known and (right := _num_nearest(asked.first, known)) < len(first) / 2:
        yield f"of {len(first)} pictures with known captions, {right} are told by theirs"


def scatter(picture: Image.Image, place: int) -> Image.Image:
    """Return a picture with its tiles in other places; one too small for that is turned upside down."""
    if min(picture.size) < TILES:
        return picture.transpose(Image.Transpose.ROTATE_180)
    side = TILES
    whole = picture.resize((picture.width // side * side, picture.height // side * side))
    pixels = np.asarray(whole)
    height, width = pixels.shape[0] // side, pixels.shape[1] // side
    tiles = pixels.reshape(side, height, side, width, 3).transpose(0, 2, 1, 3, 4).reshape(-1, height, width, 3)
    mixed = tiles[seeds.numpy_generator("canary", place).permutation(len(tiles))]
    mixed = mixed.reshape(side, side, height, width, 3).transpose(0, 2, 1, 3, 4).reshape(pixels.shape)
    return Image.fromarray(np.ascontiguousarray(mixed))


def read_known(folder: Path, count: int) -> tuple[list[Image.Image], list[str]]:
    """Read the first pictures of a folder that have their caption beside them, NAME.txt; raise UserError for fewer."""
    pictures, captions = [], []
    for text in islice(sorted(folder.glob("*.txt")), count):
        image = next((path for path in sorted(folder.glob(f"{text.stem}.*")) if path != text), None)
        if image is not None:
            pictures.append(_decoded(image.read_bytes(), image))
            captions.append(text.read_text())
    if len(pictures) < count:
        wanted = f"{count} pictures, each with its caption in NAME.txt"
        raise UserError("too few known pictures", where=folder, found=len(pictures), wanted=wanted)
    return pictures, captions


def plain(text: str | None) -> str | None:
    """Return a caption without case and punctuation."""
    return None if text is None else " ".join(split_words(text))


def _answers(
    config: RecaptionConfig, captioner: Captioner, prepared: Sequence[object], keys: Sequence[int]
) -> list[str | None]:
    prompts = prompts_without_condition(config)
    # Tickets of rows count up from 1.
    items: list[Item] = [
        Request(ticket=-1 - place, picture=picture, prompts=prompts, key=f"canary {key}")
        for place, (picture, key) in enumerate(zip(prepared, keys, strict=True))
    ]
    said: list[str | None] = [None] * len(prepared)
    for result in captioner.answer(iter([*items, UnitEnd()])):
        if isinstance(result, Answered):
            said[-1 - result.ticket] = result.captions[0].text
    return said


def _distinct_pictures(unit: Unit, count: int) -> list[Image.Image]:
    """Return the first pictures of a unit that differ, as they are when they are small."""
    seen: dict[bytes, Image.Image] = {}
    for row in islice(unit.rows(), count * ROWS_LOOKED_AT):
        picture = _picture_of(row)
        if picture is not None:
            seen.setdefault(picture.resize((8, 8)).tobytes(), picture)
        if len(seen) == count:
            break
    return list(seen.values())


def _picture_of(row: InputRow) -> Image.Image | None:
    try:
        return None if row.image is None else decode(row.image)
    except DecodeError:
        return None


def _decoded(data: bytes, where: Path) -> Image.Image:
    try:
        return decode(data)
    except DecodeError as error:
        raise UserError("known picture can't be decoded", where=where, found=str(error)) from None


def _num_nearest(texts: Sequence[str | None], targets: Sequence[str | None]) -> int:
    """Return how many texts share at least as large a part of their words with their own target as with any other."""
    words = [frozenset(split_words(text or "")) for text in targets]
    rows = [frozenset(split_words(text or "")) for text in texts]
    return sum(
        _overlap(row, words[place]) > 0 and _overlap(row, words[place]) >= max(_overlap(row, other) for other in words)
        for place, row in enumerate(rows)
    )


def _overlap(left: frozenset[str], right: frozenset[str]) -> float:
    return len(left & right) / max(1, len(left | right))


def _is_unfit(config: RecaptionConfig, text: str) -> bool:
    flags = find_flags(text, finish_reason="stop", script=config.script)
    return any(flag != CUT_OFF for flag in defects_among(flags))


def _quoted(texts: Sequence[str | None]) -> str:
    text = next((text for text in texts if text is not None), "")
    return repr(text[:80])
