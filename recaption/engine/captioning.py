"""Caption one unit: as many rows out as in, each with a caption or a status and a reason."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from imagetext.decode import DecodeError, decode
from recaption.captioners.transformers_captioner import Caption, Captioner, Picture
from recaption.inputs.units import SUCCESS, InputRow, Unit
from runtime.errors import UserError

UNDECODABLE = "failed_to_decode"

SidecarColumns = dict[str, object]


def caption_unit(unit: Unit, captioner: Captioner, *, prompt_id: str, batch_size: int) -> list[SidecarColumns]:
    """Return the sidecar rows of a unit, in the order of its rows."""
    rows = list(_captioned(unit.rows(), captioner, prompt_id, batch_size))
    if len(rows) != unit.num_rows:
        wanted = f"{unit.num_rows}, as its stats say"
        raise UserError("rows do not reconcile", where=unit.name, found=f"{len(rows)} rows", wanted=wanted)
    return rows


def _captioned(
    rows: Iterable[InputRow], captioner: Captioner, prompt_id: str, batch_size: int
) -> Iterator[SidecarColumns]:
    remaining = iter(rows)
    while batch := list(islice(remaining, batch_size)):
        failures: dict[str, DecodeError] = {}
        captions = {caption.key: caption for caption in captioner.caption(_decoded(batch, failures))}
        expected = {row.key for row in batch if row.image is not None} - failures.keys()
        assert captions.keys() == expected, "captions changed their keys"
        for row in batch:
            columns = _success(captions[row.key]) if row.key in captions else _failure(row, failures)
            yield {**_identity(row), **columns, "prompt_id": prompt_id, "captioner_id": captioner.captioner_id}


def _decoded(rows: Sequence[InputRow], failures: dict[str, DecodeError]) -> Iterator[Picture]:
    """Yield one decoded picture at a time, so that a batch of large photographs need not fit in memory."""
    for row in rows:
        if row.image is None:
            continue
        try:
            image = decode(row.image)
        except DecodeError as error:
            failures[row.key] = error
        else:
            yield Picture(key=row.key, image=image)


def _success(caption: Caption) -> SidecarColumns:
    return {
        "re_caption": caption.text,
        "status": SUCCESS,
        "finish_reason": caption.finish_reason,
        "num_tokens": caption.num_tokens,
        "mean_logprob": caption.mean_logprob,
        "flags": _flags(caption.text, caption.finish_reason),
        "attempts": 1,
    }


def _flags(text: str, finish_reason: str) -> list[str]:
    return [name for name, raised in (("empty", not text), ("cut_off", finish_reason == "length")) if raised]


def _failure(row: InputRow, failures: dict[str, DecodeError]) -> SidecarColumns:
    error = failures.get(row.key)
    status, message = (row.status, row.error_message) if error is None else (UNDECODABLE, str(error))
    return {"re_caption": None, "status": status, "error_message": message or status, "flags": [], "attempts": 0}


def _identity(row: InputRow) -> SidecarColumns:
    return {"key": row.key, "uid": row.uid, "url": row.url, "sha256": row.sha256, "org_caption": row.caption}
