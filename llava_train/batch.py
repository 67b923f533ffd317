"""One microbatch of conversations."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from imagetext.conversations import IGNORED_LABEL

LENGTH_MULTIPLE = 8
"""Sequences are padded to a multiple of this: fewer distinct shapes."""


@dataclass(frozen=True, kw_only=True)
class RenderedSample:
    """One conversation as tokens and its picture as pixels."""

    key: str
    input_ids: Sequence[int]
    labels: Sequence[int]
    image: UInt8[np.ndarray, "channel height width"] | None


@dataclass(frozen=True, kw_only=True)
class ConversationBatch:
    """Conversations padded on the right; images only of the samples that have one, in order."""

    keys: tuple[str, ...]
    input_ids: Int64[Tensor, "batch tokens"]
    labels: Int64[Tensor, "batch tokens"]
    images: UInt8[Tensor, "images channel height width"] | None


def collate(samples: Sequence[RenderedSample], pad_id: int) -> ConversationBatch:
    """Pad and stack samples; none at all give an empty batch of zero supervised tokens."""
    longest = max((len(sample.input_ids) for sample in samples), default=1)
    num_tokens = -(-longest // LENGTH_MULTIPLE) * LENGTH_MULTIPLE
    input_ids = torch.full((len(samples), num_tokens), pad_id, dtype=torch.int64)
    labels = torch.full((len(samples), num_tokens), IGNORED_LABEL, dtype=torch.int64)
    for row, sample in enumerate(samples):
        input_ids[row, : len(sample.input_ids)] = torch.tensor(sample.input_ids)
        labels[row, : len(sample.labels)] = torch.tensor(sample.labels)
    images = [sample.image for sample in samples if sample.image is not None]
    return ConversationBatch(
        keys=tuple(sample.key for sample in samples),
        input_ids=input_ids,
        labels=labels,
        images=torch.from_numpy(np.stack(images)) if images else None,
    )
