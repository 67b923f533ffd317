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
    positions, starts, longest = _boundaries(lengths, width) if packed else (None, None, None)
    ordered = [sample for row in rows for sample in row]
    images = [sample.image for sample in ordered if sample.image is not None]
    return ConversationBatch(
        keys=tuple(sample.key for sample in ordered),
        input_ids=input_ids,
        labels=labels,
        images=torch.from_numpy(np.stack(images)) if images else None,
        position_ids=positions,
        sequence_starts=starts,
        longest_sequence_tokens=longest,
    )


def _boundaries(
    lengths: Sequence[Sequence[int]], width: int
) -> tuple[Int64[Tensor, "batch tokens"], Int32[Tensor, " boundaries"], int]:
    """Return the positions, starts and longest length of a packed batch's samples, padding among them."""
    runs = [[*row, *([width - sum(row)] if sum(row) < width else [])] for row in lengths]
    bounds = torch.tensor([0, *(run for row in runs for run in row)], dtype=torch.int32)
    positions = torch.tensor([place for row in runs for run in row for place in range(run)], dtype=torch.int64)
    return positions.view(len(runs), width), bounds.cumsum(0, dtype=torch.int32), int(bounds.max())
