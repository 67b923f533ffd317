"""The sidecar's columns of a settled row."""

from collections.abc import Sequence

from imagetext.sidecars import OWN_COLUMNS
from recaption.captioners.base import Caption
from recaption.engine.open_units import OpenRow

SidecarColumns = dict[str, object]


def sidecar_columns(
    row: OpenRow, *, caption_columns: Sequence[str], prompt_id: str, captioner_id: str
) -> SidecarColumns:
    """Return the columns of one settled row: identity, captions or reason, and who was asked what.

    `caption_columns` are those of the prompts' captions, in their order.
    """
    identity = {
        "key": row.row.key,
        "uid": row.row.uid,
        "url": row.row.url,
        "sha256": row.row.sha256,
        "org_caption": row.row.caption,
    }
    columns = _failure(row) if row.captions is None else _success(row, row.captions, caption_columns)
    told = {**dict.fromkeys(caption_columns), **columns, OWN_COLUMNS: row.row.columns}
    return {**identity, **told, "prompt_id": prompt_id, "captioner_id": captioner_id}


def _success(row: OpenRow, captions: tuple[Caption, ...], caption_columns: Sequence[str]) -> SidecarColumns:
    # What tells of a caption's making tells of the first; flags are raised by any.
    caption = captions[0]
    return {
        **{column: one.text for column, one in zip(caption_columns, captions, strict=True)},
        "status": row.status,
        "finish_reason": caption.finish_reason,
        "num_tokens": caption.num_tokens,
        "mean_logprob": caption.mean_logprob,
        "flags": sorted({flag for one in captions for flag in _flags(one)} | {*row.leaks, *row.row.flags}),
        "attempts": row.askings,
    }


def _flags(caption: Caption) -> list[str]:
    raised = (("cut_off", caption.finish_reason == "length"), ("empty", not caption.text))
    return [name for name, holds in raised if holds]


def _failure(row: OpenRow) -> SidecarColumns:
    return {
        "status": row.status,
        "error_message": row.error_message or row.status,
        "flags": sorted(row.row.flags),
        "attempts": max(row.askings, row.deaths),
    }
