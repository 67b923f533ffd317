"""What a CLIP's forward and backward pass cost in useful floating-point operations, by what a batch really holds."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch
from open_clip.model import CLIP
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from clip_train.text_tower import config_sees_padding
from imagetext.loader import ImageTextBatch
from runtime.flops import FlopLedger

TRAINING_FACTOR = 3
"""Forward and backward over forward alone: a backward pass multiplies by weights and by activations."""


class ClipCost:
    """Reckon a model's cost; a multiply-add counts as two operations, elementwise work as none."""

    def __init__(self, config: Mapping[str, Any]):
        """Take open_clip's `model_cfg`."""
        text = config["text_cfg"]
        self._width, self._layers = text["width"], text["layers"]
        self._mlp_width = int(text["width"] * text.get("mlp_ratio", 4.0))
        self._embed_dim = config["embed_dim"]
        self._context_length = text["context_length"]
        self._sees_all_slots = config_sees_padding(text)
        self.image_flops = _image_flops(config)
        """Of one image's forward pass."""

    def text_flops(self, num_tokens: int | float) -> int | float:
        """Return the forward operations on a text of so many tokens; towers that see padding compute every slot."""
        tokens = self._context_length if self._sees_all_slots else num_tokens
        per_token = 8 * self._width**2 + 4 * self._width * self._mlp_width + 4 * self._width * tokens
        return self._layers * per_token * tokens + 2 * self._width * self._embed_dim

    def training_flops(self, num_tokens: int | float, num_captions: int = 1) -> int | float:
        """Return what one sample costs in training, forward and backward, with so many captions of so many tokens."""
        return TRAINING_FACTOR * (self.image_flops + num_captions * self.text_flops(num_tokens))

    def workload(self, batch: ImageTextBatch) -> dict[str, int | float]:
        """Return what a microbatch holds: images, tokens without padding, useful operations of its training."""
        lengths = batch.token_lengths.tolist()
        flops = sum(self.training_flops(length) for length in lengths)
        further = [length for group in batch.further for length in group.token_lengths.tolist()]
        flops += TRAINING_FACTOR * sum(self.text_flops(length) for length in further)
        return {"images": len(lengths), "tokens": sum(lengths) + sum(further), "flops": flops}


def _image_flops(config: Mapping[str, Any]) -> int:
    """Count one image's forward pass on a model without weights."""
    shallow = deepcopy(dict(config))
    shallow["text_cfg"] |= {"layers": 1, "vocab_size": 2}
    with torch.device("meta"):
        tower: nn.Module = CLIP(**shallow).visual.eval()
        size = config["vision_cfg"].get("image_size", 224)
        images = torch.empty(1, 3, size, size)
    ledger = FlopLedger()
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        ledger.measure(lambda: tower(images))
    return ledger.total
