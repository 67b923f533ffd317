"""The contrastive loss over a global batch, and the task that the loop trains with it."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from jaxtyping import Float, Int64, Num
from open_clip.model import CLIP
from open_clip.transformer import text_global_pool
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import cross_entropy, normalize

from clip_train.architecture import MAX_LOGIT_SCALE
from imagetext.loader import ImageTextBatch
from runtime.device import attention_implementation
from runtime.task import LossSum


def contrastive_loss(
    images: Float[Tensor, "batch width"], texts: Float[Tensor, "batch width"], logit_scale: Float[Tensor, ""]
) -> LossSum:
    """Return CLIP's symmetric softmax loss (Radford et al. 2021, figure 3), summed over the batch, in float32.

    Both inputs have unit rows; `logit_scale` is the factor itself, not its logarithm. The metrics count how often the
    right partner scores highest.
    """
    logits = logit_scale.float() * images.float() @ texts.float().T
    partners = torch.arange(len(logits), device=logits.device)
    image_to_text = cross_entropy(logits, partners, reduction="sum")
    text_to_image = cross_entropy(logits.T, partners, reduction="sum")
    metrics = {
        "image_to_text_accuracy": (logits.argmax(dim=1) == partners).sum().float(),
        "text_to_image_accuracy": (logits.argmax(dim=0) == partners).sum().float(),
        "logit_scale": logit_scale.detach().float() * len(logits),
    }
    return LossSum(total=(image_to_text + text_to_image) / 2, metrics=metrics)


class ContrastiveTask:
    """Train a CLIP on ImageTextBatches; the loss couples all samples of a global batch."""

    def __init__(self, image_mean: Sequence[float], image_std: Sequence[float]):
        self.image_mean = tuple(image_mean)
        self.image_std = tuple(image_std)

    def count(self, batch: ImageTextBatch) -> int:
        """Return the number of samples."""
        return len(batch.keys)

    def features(
        self, model: nn.Module, batch: ImageTextBatch, step: int, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Return unit image and text features and the logit scale."""
        images = normalise_images(batch.images, self.image_mean, self.image_std)
        clip = cast(CLIP, model)
        with attention_kernels(images.device):
            image_features = clip.encode_image(images)
            text_features = encode_text(clip, batch.token_ids, batch.token_lengths)
        return {
            "images": normalize(image_features.float(), dim=-1),
            "texts": normalize(text_features.float(), dim=-1),
            "logit_scale": clip.logit_scale.float().exp(),
        }

    def coupled_loss(self, features: dict[str, Tensor], step: int) -> LossSum:
        """Return the contrastive loss of the global batch."""
        return contrastive_loss(features["images"], features["texts"], features["logit_scale"])


def encode_text(
    model: CLIP, token_ids: Int64[Tensor, "batch tokens"], lengths: Int64[Tensor, " batch"]
) -> Float[Tensor, "batch width"]:
    """Return `model.encode_text(token_ids)`, computed without most of the padding.

    Under a causal mask nothing up to the end of a text sees the padding after it.
    """
    if not len(token_ids):
        return model.encode_text(token_ids)
    groups = group_by_length(lengths)
    features = [_encode_columns(model, token_ids[rows, : int(lengths[rows].max())]) for rows in groups]
    return torch.cat(features)[torch.cat(groups).argsort()]


def group_by_length(lengths: Int64[Tensor, " batch"]) -> list[Int64[Tensor, " _"]]:
    """Split row numbers into short and long texts, or not at all, so that the groups have the fewest cells in all.

    Mixed captions come in two lengths; padded to the longest, nine cells in ten of short ones would be padding.
    """
    order = lengths.argsort(stable=True)
    ascending = lengths[order].tolist()
    num_cells = [
        num_short * ascending[num_short - 1] + (len(ascending) - num_short) * ascending[-1]
        for num_short in range(1, len(ascending) + 1)
    ]
    num_short = max(count for count, cells in enumerate(num_cells, start=1) if cells == min(num_cells))
    return [rows for rows in (order[:num_short], order[num_short:]) if len(rows)]


def _encode_columns(model: CLIP, ids: Int64[Tensor, "batch tokens"]) -> Float[Tensor, "batch width"]:
    """Repeat `CLIP.encode_text` for fewer tokens than its context length, which it does not take."""
    length = ids.shape[1]
    hidden = model.token_embedding(ids) + model.positional_embedding[:length]
    hidden = model.ln_final(model.transformer(hidden, attn_mask=model.attn_mask[:length, :length]))
    return text_global_pool(hidden, ids, model.text_pool_type, model.text_eos_id) @ model.text_projection


def normalise_images(
    images: Num[Tensor, "batch channel height width"], mean: Sequence[float], std: Sequence[float]
) -> Float[Tensor, "batch channel height width"]:
    """Turn bytes in 0..255 into what the vision tower reads."""
    shape = (1, 3, 1, 1)
    offset = torch.tensor(mean, device=images.device).view(shape)
    spread = torch.tensor(std, device=images.device).view(shape)
    return (images.float() / 255 - offset) / spread


@contextmanager
def attention_kernels(device: torch.device) -> Iterator[None]:
    """Have scaled_dot_product_attention run as the device does it fastest: plain matmul and softmax on a CPU."""
    if attention_implementation(device) == "sdpa":
        yield
        return
    with sdpa_kernel(SDPBackend.MATH):
        yield


@torch.no_grad()
def bound_logit_scale(step: int, model: nn.Module, ema: Any) -> Mapping[str, float]:
    """Keep the logit scale within [1, 100] after an update, as open_clip does."""
    cast(CLIP, model).logit_scale.clamp_(0, math.log(MAX_LOGIT_SCALE))
    return {}
