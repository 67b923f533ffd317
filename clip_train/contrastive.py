"""The contrastive loss over a global batch, and the task that the loop trains with it."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from jaxtyping import Float, Num
from open_clip.model import CLIP
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import cross_entropy, normalize

from clip_train.architecture import MAX_LOGIT_SCALE
from clip_train.text_tower import encode_text
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


def normalise_images(
    images: Num[Tensor, "batch channel height width"], mean: Sequence[float], std: Sequence[float]
) -> Float[Tensor, "batch channel height width"]:
    """Turn bytes in 0..255 into what the vision tower reads."""
    shape = (1, 3, 1, 1)
    offset = torch.tensor(mean, device=images.device).view(shape)
    spread = torch.tensor(std, device=images.device).view(shape)
    # In one buffer: three more of a batch's size cost more than the arithmetic. A copy, where pixels are floats already.
    return images.to(torch.float32, copy=True).div_(255).sub_(offset).div_(spread)


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
