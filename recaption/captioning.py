"""Caption one unit: as many rows out as in, each with a caption or a status and a reason."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from imagetext.decode import DecodeError, decode
from recaption.captioner import Captioner, Picture
from recaption.units import SUCCESS, InputRow, Unit
from runtime.errors import UserError

UNDECODABLE = "failed_to_decode"
READ_AHEAD_BATCHES = 4
"""Batches of pictures decoded before they are captioned; bounds memory."""

SidecarColumns = dict[str, object]


def caption_unit(unit: Unit, captioner: Captioner, *, prompt_id: str, batch_size: int) -> list[SidecarColumns]:
    """Return the sidecar rows of a unit, in the order of its rows."""
    rows = list(_captioned(unit.rows(), captioner, prompt_id, batch_size))
    if len(rows) != unit.num_rows:
        raise UserError(
            "rows do not reconcile",
            where=unit.name,
            found=f"{len(rows)} rows",
            wanted=f"{unit.num_rows}, as its stats say",
        )
    return rows


def _captioned(
    rows: Iterable[InputRow], captioner: Captioner, prompt_id: str, batch_size: int
) -> Iterator[SidecarColumns]:
    remaining = iter(rows)
    while part := list(islice(remaining, READ_AHEAD_BATCHES * batch_size)):
        pictures, failures = _decoded(part)
        captions = _caption(captioner, pictures)
        for row in part:
            columns = captions.get(row.key) or _failure(row, failures)
            yield {**_identity(row), **columns, "prompt_id": prompt_id, "captioner_id": captioner.captioner_id}


def _decoded(rows: Sequence[InputRow]) -> tuple[list[Picture], dict[str, DecodeError]]:
    pictures, failures = [], {}
    for row in rows:
        if row.image is None:
            continue
        try:
            pictures.append(Picture(key=row.key, image=decode(row.image)))
        except DecodeError as error:
            failures[row.key] = error
    return pictures, failures


def _caption(captioner: Captioner, pictures: Sequence[Picture]) -> dict[str, SidecarColumns]:
    if not pictures:
        return {}
    captions = captioner.caption(pictures)
    assert [caption.key for caption in captions] == [picture.key for picture in pictures], "captions changed their keys"
    return {
        caption.key: {
            "re_caption": caption.text,
            "status": SUCCESS,
            "finish_reason": caption.finish_reason,
            "num_tokens": caption.num_tokens,
            "mean_logprob": caption.mean_logprob,
            "flags": _flags(caption.text, caption.finish_reason),
            "attempts": 1,
        }
        for caption in captions
    }


def _flags(text: str, finish_reason: str) -> list[str]:
    return [name for name, raised in (("empty", not text), ("cut_off", finish_reason == "length")) if raised]


def _failure(row: InputRow, failures: dict[str, DecodeError]) -> SidecarColumns:
    error = failures.get(row.key)
    status, message = (row.status, row.error_message) if error is None else (UNDECODABLE, str(error))
    return {"re_caption": None, "status": status, "error_message": message or status, "flags": [], "attempts": 0}


def _identity(row: InputRow) -> SidecarColumns:
    return {"key": row.key, "uid": row.uid, "url": row.url, "sha256": row.sha256, "org_caption": row.caption}
