"""What a microbatch of conversations holds, for the rates that training shows."""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from imagetext.conversations import IGNORED_LABEL
from llava_train.batch import ConversationBatch
from llava_train.compute import CaptionerCost, Content


class Workload:
    """Count a microbatch's tokens, pictures and useful FLOPs (what `runtime.loop.fit` takes as its `workload`)."""

    def __init__(self, cost: CaptionerCost, *, pad_id: int, image_id: int):
        self._cost = cost
        self._pad_id = pad_id
        self._image_id = image_id

    def __call__(self, batch: ConversationBatch) -> Mapping[str, int | float]:
        """Return counts by name; `flops` is what the microbatch's forward and backward pass must compute."""
        num_tokens = _count_by_sample(batch, batch.input_ids != self._pad_id)
        num_supervised = _count_by_sample(batch, batch.labels != IGNORED_LABEL)
        has_image = _count_by_sample(batch, batch.input_ids == self._image_id) > 0
        num_images = 0 if batch.images is None else len(batch.images)
        contents = [
            _content(num_tokens[has_image], num_supervised[has_image], num_images),
            _content(num_tokens[~has_image], num_supervised[~has_image], 0),
        ]
        return {
            "tokens": int(num_tokens.sum()),
            "supervised_tokens": int(num_supervised.sum()),
            "images": num_images,
            "flops": sum(self._cost.of(content).total for content in contents),
        }


def _content(num_tokens: Int64[Tensor, " samples"], num_supervised: Int64[Tensor, " samples"], images: int) -> Content:
    num_pairs = num_tokens * (num_tokens + 1) // 2
    return Content(
        num_tokens=int(num_tokens.sum()),
        num_pairs=int(num_pairs.sum()),
        num_supervised=int(num_supervised.sum()),
        num_images=images,
    )


def _count_by_sample(batch: ConversationBatch, chosen: Bool[Tensor, "batch tokens"]) -> Int64[Tensor, " samples"]:
    """Return how many chosen tokens each sample has, in a row of its own or packed into rows."""
    if batch.sequence_starts is None:
        return chosen.sum(1)
    sums = torch.cat([torch.zeros(1, dtype=torch.int64), chosen.flatten().cumsum(0)])
    return sums[batch.sequence_starts.long()].diff()
