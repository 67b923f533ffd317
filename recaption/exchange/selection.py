"""Which rows are exported, and with which caption."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from imagetext.mix import RECAPTION, CaptionMix, CaptionMixConfig
from imagetext.samples import ORIGINAL
from recaption.exchange.export_config import ExportConfig
from recaption.inputs.units import SUCCESS, Unit
from runtime.errors import UserError

LEFT_OUT = "left_out"
"""Status of a row that was captioned and that the export was told to leave out."""


@dataclass(frozen=True, kw_only=True)
class SelectedRow:
    """One row of a unit, exported or, without a picture, left out."""

    sidecar: Mapping[str, Any]
    """What the sidecar says of it."""
    image: bytes | None
    caption: str = ""
    caption_source: str = ""
    """"original" or "recaption"."""
    status: str = SUCCESS
    reason: str | None = None
    """Why it is left out."""


def select(unit: Unit, sidecar: Sequence[Mapping[str, Any]], config: ExportConfig) -> Iterator[SelectedRow]:
    """Yield every row of a unit, in order.

    Raises UserError when the input's rows are not those that were captioned.
    """
    mix = CaptionMix(CaptionMixConfig(original_share=_original_share(config)), config.seed)
    num_rows = 0
    for row, captioned in zip(unit.rows(), sidecar, strict=False):
        if row.key != captioned["key"]:
            _refuse(unit, row.key, captioned["key"])
        num_rows += 1
        yield _selected(captioned, row.image, mix, config)
    if num_rows != len(sidecar) or unit.count_rows() != len(sidecar):
        _refuse(unit, f"{unit.count_rows()} rows", f"{len(sidecar)} rows")


def _selected(sidecar: Mapping[str, Any], image: bytes | None, mix: CaptionMix, config: ExportConfig) -> SelectedRow:
    status, reason = _verdict(sidecar, image, config)
    if reason is not None:
        return SelectedRow(sidecar=sidecar, image=None, status=status, reason=reason)
    texts = {ORIGINAL: sidecar["org_caption"], RECAPTION: sidecar[config.caption_column]}
    captions = {source: text for source, text in texts.items() if text and text.strip()}
    choice = mix.choose(captions, f"{config.name}/{sidecar['key']}", 0, 0)
    if not choice.text or (config.captions != "mix" and choice.fallback):
        reason = f"it has no {choice.source if config.captions == 'mix' else config.captions} caption"
        return SelectedRow(sidecar=sidecar, image=None, status=LEFT_OUT, reason=reason)
    return SelectedRow(sidecar=sidecar, image=image, caption=choice.text, caption_source=choice.source)


def _verdict(sidecar: Mapping[str, Any], image: bytes | None, config: ExportConfig) -> tuple[str, str | None]:
    status = sidecar["status"]
    if status not in config.statuses:
        return (LEFT_OUT if status == SUCCESS else status), sidecar["error_message"] or f"its status is {status}"
    flagged = sorted({*(sidecar["flags"] or [])} & {*config.without_flags})
    if flagged:
        return LEFT_OUT, f"flagged {', '.join(flagged)}"
    if image is None and config.with_pictures:
        return (LEFT_OUT if status == SUCCESS else status), "it has no picture"
    return SUCCESS, None


def _original_share(config: ExportConfig) -> float:
    return {"original": 1.0, "recaption": 0.0, "mix": config.original_share}[config.captions]


def _refuse(unit: Unit, found: str, wanted: str) -> None:
    fix = "Say where the captioned input is now"
    raise UserError("the input is not the one that was captioned", where=unit.name, found=found, wanted=wanted, fix=fix)
