"""Pictures of some rows, small, beside what was said of them."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from imagetext.decode import DecodeError, decode
from imagetext.sidecars import RECAPTION_COLUMN
from recaption.inputs.units import Unit
from recaption.job.reopening import finished_of, input_of
from recaption.report.config import ReportConfig
from recaption.report.facts import OLD_COLUMN, ToldRow
from recaption.report.shown import shown
from recaption.sampling import finished_units, sample_captioned
from runtime.errors import UserError
from runtime.html import Card

SIDE_MAX_PX = 360
"""Longer side of a picture on the page; sixteen come to a few hundred kilobytes."""
_JPEG_QUALITY = 82


def before_and_after(config: ReportConfig) -> list[Card]:
    """Return drawn rows with their pictures; raises UserError or OSError where these can't be found or read."""
    units = finished_units(config.recaptions, input_of(config.recaptions, config.input), finished_of(config.recaptions))
    drawn = sample_captioned(config.recaptions, units, config.pictures, config.seed, columns=(RECAPTION_COLUMN,))
    return [
        Card(image=thumbnail(row.row.image), texts=_texts(row.sidecar, tuple(row.sidecar.get("flags") or ())))
        for row in drawn
        if row.row.image is not None
    ]


def worst_cards(config: ReportConfig, rows: Sequence[ToldRow]) -> list[Card]:
    """Return given rows with their pictures; raises as `before_and_after` does."""
    wanted: dict[str, set[str]] = {}
    for row in rows:
        wanted.setdefault(row.unit, set()).add(str(row.columns["key"]))
    pictures: dict[tuple[str, str], bytes] = {}
    for unit in input_of(config.recaptions, config.input):
        if unit.name in wanted:
            pictures |= _pictures(unit, wanted[unit.name])
    named = ((row, pictures.get((row.unit, str(row.columns["key"])))) for row in rows)
    return [
        Card(
            image=thumbnail(data),
            texts={"row": f"{row.unit} / {shown(row.columns['key'])}", **_texts(row.columns, row.flags)},
        )
        for row, data in named
        if data is not None
    ]


def thumbnail(data: bytes) -> bytes:
    """Return an encoded picture small, as a JPEG; raises UserError for one that can't be decoded."""
    try:
        image = decode(data)
    except DecodeError as error:
        raise UserError("picture can't be decoded", where="report", found=str(error)) from None
    image.thumbnail((SIDE_MAX_PX, SIDE_MAX_PX))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()


def _pictures(unit: Unit, keys: set[str]) -> dict[tuple[str, str], bytes]:
    found: dict[tuple[str, str], bytes] = {}
    for row in unit.rows():
        if row.key in keys and row.image is not None:
            found[unit.name, row.key] = row.image
        if len(found) == len(keys):
            break
    return found


def _texts(columns: Mapping[str, Any], flags: Sequence[str]) -> dict[str, str]:
    caption, cleaned, first = (columns.get(name) for name in (RECAPTION_COLUMN, "clean_caption", "first_caption"))
    texts = {"before": shown(columns.get(OLD_COLUMN) or "(none)"), "after": shown(caption or "(empty)")}
    if cleaned is not None and cleaned != caption:
        texts["cleaned"] = shown(cleaned)
    if first is not None:
        texts["said first"] = shown(first)
    if columns.get("repairs"):
        texts["asked again"] = shown("; ".join(columns["repairs"]))
    for label, name in (("CLIP score before", "org_clip_score"), ("CLIP score after", "re_clip_score")):
        if columns.get(name) is not None:
            texts[label] = f"{columns[name]:.3f}"
    if flags:
        texts["flags"] = ", ".join(flags)
    return texts
