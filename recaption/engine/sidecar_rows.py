"""The sidecar's columns of settled rows."""

from collections.abc import Sequence

from imagetext.caption_flags.cleaning import clean_caption
from imagetext.caption_flags.finding import find_shared, in_order
from imagetext.caption_flags.names import SAME_AS_MANY
from imagetext.sidecar_schema import clean_column
from imagetext.sidecars import OWN_COLUMNS
from recaption.captioners.base import Caption
from recaption.engine.open_units import OpenRow
from recaption.quality.attempts import describe_attempts

SidecarColumns = dict[str, object]


def sidecar_rows(
    rows: Sequence[OpenRow], *, caption_columns: Sequence[str], prompt_id: str, captioner_id: str
) -> list[SidecarColumns]:
    """Return the columns of a unit's settled rows; what only the whole unit can tell, the same caption as many, too.

    `caption_columns` are those of the prompts' captions, in their order.
    """
    identity = {"prompt_id": prompt_id, "captioner_id": captioner_id}
    made = [{**_columns(row, caption_columns), **identity} for row in rows]
    pictures = [row.row.sha256 or row.row.key for row in rows]
    shared = find_shared([None if row.captions is None else row.captions[0].text for row in rows], pictures)
    for columns, row, is_shared in zip(made, rows, shared, strict=True):
        raised = {flag for flags in row.flags for flag in flags} | ({SAME_AS_MANY} if is_shared else set())
        columns["flags"] = in_order(raised | {*row.row.flags})
    return made


def _columns(row: OpenRow, caption_columns: Sequence[str]) -> SidecarColumns:
    identity = {
        "key": row.row.key,
        "uid": row.row.uid,
        "url": row.row.url,
        "sha256": row.row.sha256,
        "org_caption": row.row.caption,
    }
    columns = _failure(row) if row.captions is None else _success(row, row.captions, caption_columns)
    empty = dict.fromkeys(one for column in caption_columns for one in (column, clean_column(column)))
    return {**identity, **empty, **columns, OWN_COLUMNS: row.row.columns}


def _success(row: OpenRow, captions: tuple[Caption, ...], caption_columns: Sequence[str]) -> SidecarColumns:
    # What tells of a caption's making tells of the first; flags are raised by any.
    caption, first = captions[0], row.attempts[0].captions[0]
    said = zip(caption_columns, captions, row.flags, strict=True)
    texts = {column: (one.text, clean_caption(one.text, flags)) for column, one, flags in said}
    return {
        **{column: raw for column, (raw, _) in texts.items()},
        **{clean_column(column): cleaned for column, (_, cleaned) in texts.items()},
        "status": row.status,
        "finish_reason": caption.finish_reason,
        "num_tokens": caption.num_tokens,
        "mean_logprob": caption.mean_logprob,
        **row.scores,
        "attempts": row.askings,
        "repairs": describe_attempts(row.attempts),
        "first_caption": None if first is caption else first.text,
    }


def _failure(row: OpenRow) -> SidecarColumns:
    return {
        "status": row.status,
        "error_message": row.error_message or row.status,
        "attempts": max(row.askings, row.deaths),
        "repairs": [],
    }
