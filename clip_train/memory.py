"""How much memory training takes on one device, reckoned without weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from open_clip.model import CLIP
from torch import Tensor

from clip_train.architecture import BLOCKS

BYTES_PER_WEIGHT = 4 + 4 + 8
"""Float32 weight, its gradient, and AdamW's two moments."""
COMPUTED_BYTES_PER_WEIGHT = 2
"""bfloat16 copies of the weights that autocast keeps for a pass."""
_PROBED_SAMPLES = 2


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes on one device; what libraries and fragmentation take comes on top."""

    weights: float
    """Weights, gradients and optimizer state, with their copies for computing."""
    activations: float
    """What the backward pass of one microbatch needs from the forward pass."""
    features: float
    """Features of the global batch with their gradients, and the loss's slices."""

    @property
    def total(self) -> float:
        """Return the sum."""
        return self.weights + self.activations + self.features


def reckon(
    config: Mapping[str, Any],
    *,
    batch_size: int,
    microbatch_size: int,
    slice_bytes: int,
    num_shares: int = 1,
    num_captions: int = 1,
) -> Memory:
    """Return the memory of training a model of an open_clip `model_cfg` in bf16, on so many captions of an image.

    With `num_shares` ranks that share the weights out (FSDP2), each holds its share of them and, gathered in bf16, two
    blocks and what lies outside blocks.
    """
    with torch.device("meta"):
        model = CLIP(**dict(config))
    num_weights = sum(weight.numel() for weight in model.parameters())
    num_gathered = num_weights if num_shares == 1 else _num_gathered(model)
    per_sample = _saved_bytes(model, config, num_captions) / _PROBED_SAMPLES
    return Memory(
        weights=num_weights * BYTES_PER_WEIGHT / num_shares + num_gathered * COMPUTED_BYTES_PER_WEIGHT,
        activations=per_sample * microbatch_size,
        # An image's and its captions' float32 features, as they are and as gradients.
        features=float(2 * 4 * (1 + num_captions) * batch_size * config["embed_dim"] + 4 * slice_bytes),
    )


def _num_gathered(model: CLIP) -> int:
    blocks = [module for module in model.modules() if type(module).__name__ in BLOCKS]
    sizes = sorted(sum(weight.numel() for weight in block.parameters()) for block in blocks)
    outside = sum(weight.numel() for weight in model.parameters()) - sum(sizes)
    return outside + sum(sizes[-2:])


def _saved_bytes(model: CLIP, config: Mapping[str, Any], num_captions: int) -> int:
    """Count what autograd keeps of a forward pass of a few samples in bfloat16, weights left out."""
    weights = {id(weight) for weight in model.bfloat16().parameters()}
    saved: dict[int, int] = {}
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        base = tensor if tensor._base is None else tensor._base
        if id(base) not in weights and id(base) not in saved:
            saved[id(base)] = base.numel() * base.element_size()
            kept.append(base)  # so that no other tensor gets its id
        return tensor

    size = config["vision_cfg"].get("image_size", 224)
    images = torch.empty(_PROBED_SAMPLES, 3, size, size, dtype=torch.bfloat16, device="meta")
    ids = torch.empty(
        _PROBED_SAMPLES * num_captions, config["text_cfg"]["context_length"], dtype=torch.int64, device="meta"
    )
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        # Features are held until here, as their graphs are.
        features = model.encode_image(images), model.encode_text(ids)
        del features
    return sum(saved.values())
