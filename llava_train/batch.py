"""One microbatch of conversations, each in a row of its own or packed into rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int32, Int64, UInt8
from torch import Tensor

from imagetext.conversations import IGNORED_LABEL
from llava_train.packing import pack, padded_width


@dataclass(frozen=True, kw_only=True)
class RenderedSample:
    """One conversation as tokens and its picture as pixels."""

    key: str
    input_ids: Sequence[int]
    labels: Sequence[int]
    image: UInt8[np.ndarray, "channel height width"] | None


@dataclass(frozen=True, kw_only=True)
class ConversationBatch:
    """Conversations in rows padded on the right; images only of the samples that have one. All in reading order."""

    keys: tuple[str, ...]
    input_ids: Int64[Tensor, "batch tokens"]
    labels: Int64[Tensor, "batch tokens"]
    images: UInt8[Tensor, "images channel height width"] | None
    position_ids: Int64[Tensor, "batch tokens"] | None = None
    """Each token's place in its own sample; none where every row is one sample."""
    sequence_starts: Int32[Tensor, " boundaries"] | None = None
    """Where each sample of packed rows begins once the rows are laid end to end, and where the last one ends; what pads
    a row counts as a sample.
    """
    longest_sequence_tokens: int | None = None
    """Length of the longest of these."""


def collate(samples: Sequence[RenderedSample], pad_id: int, *, max_row_tokens: int | None = None) -> ConversationBatch:
    """Lay samples into rows and stack them; none at all give an empty batch of zero supervised tokens.

    With `max_row_tokens` several samples share a row where they fit; a packed batch's order is that of its rows.
    """
    if max_row_tokens is None:
        return _stack([[sample] for sample in samples], pad_id)
    lengths = [len(sample.input_ids) for sample in samples]
    rows = pack(lengths, max_row_tokens)
    return _stack([[samples[index] for index in row] for row in rows], pad_id, packed=True)


def _stack(rows: Sequence[Sequence[RenderedSample]], pad_id: int, *, packed: bool = False) -> ConversationBatch:
    lengths = [[len(sample.input_ids) for sample in row] for row in rows]
    width = padded_width(max((sum(row) for row in lengths), default=1))
    input_ids = torch.full((len(rows), width), pad_id, dtype=torch.int64)
    labels = torch.full((len(rows), width), IGNORED_LABEL, dtype=torch.int64)
    for place, row in enumerate(rows):
        start = 0
        for sample in row:
            end = start + len(sample.input_ids)
            input_ids[place, start:end] = torch.tensor(sample.input_ids)
            labels[place, start:end] = torch.tensor(sample.labels)
            # Nothing of its own sample comes before a first token, to predict it from.
            labels[place, start] = IGNORED_LABEL
            start = end
    ordered = [sample for row in rows for sample in row]
    images = [sample.image for sample in ordered if sample.image is not None]
    return ConversationBatch(
        keys=tuple(sample.key for sample in ordered),
        input_ids=input_ids,
        labels=labels,
        images=torch.from_numpy(np.stack(images)) if images else None,
        **(_boundaries(lengths, width) if packed else {}),
    )


def _boundaries(lengths: Sequence[Sequence[int]], width: int) -> dict[str, Tensor | int]:
    """Return the fields of a packed batch that say where its samples lie."""
    runs = [[*row, *([width - sum(row)] if sum(row) < width else [])] for row in lengths]
    flat = torch.tensor([0, *(run for row in runs for run in row)], dtype=torch.int32)
    positions = [torch.arange(run) for row in runs for run in row]
    return {
        "position_ids": torch.cat(positions).view(len(runs), width)
        if runs
        else torch.zeros(0, width, dtype=torch.int64),
        "sequence_starts": flat.cumsum(0, dtype=torch.int32),
        "longest_sequence_tokens": int(flat.max()),
    }
