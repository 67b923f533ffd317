"""The contrastive loss over a global batch, and the task that the loop trains with it."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, cast

import torch
from einops import rearrange
from jaxtyping import Float, Int64, Num
from open_clip.model import CLIP
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import cross_entropy, normalize

from clip_train.architecture import MAX_LOGIT_SCALE
from clip_train.losses import SLICE_PAIRS, PairFeatures, RowLosses, sigmoid_rows, softmax_rows
from clip_train.text_tower import encode_rows, encode_text
from imagetext.loader import ImageTextBatch
from runtime.device import attention_implementation
from runtime.seeds import derive
from runtime.task import LossSum

LossName = Literal["softmax", "sigmoid"]
SeveralCaptions = Literal["multi_positive", "averaged"]
"""What a softmax loss makes of several captions of an image: they are all right at once, or each has a loss of its own.
"""


def contrastive_loss(
    images: Float[Tensor, "batch width"], texts: Float[Tensor, "batch width"], logit_scale: Float[Tensor, ""]
) -> tuple[LossSum, Float[Tensor, " batch"]]:
    """Return CLIP's symmetric softmax loss (Radford et al. 2021, figure 3), summed over the batch, in float32.

    Both inputs have unit rows; `logit_scale` is the factor itself, not its logarithm. The metrics count how often the
    right partner scores highest; the second result is each sample's part of the loss, detached. For batches whose
    scores fit into memory; `loss_of_rows` computes the same of larger ones.
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
    with torch.no_grad():
        by_row = sum(cross_entropy(one, partners, reduction="none") for one in (logits, logits.T)) / 2
    return LossSum(total=(image_to_text + text_to_image) / 2, metrics=metrics), cast(Tensor, by_row)


def loss_of_rows(
    pairs: PairFeatures, rows: slice, loss: LossName, *, several: SeveralCaptions = "multi_positive"
) -> tuple[LossSum, Float[Tensor, "rows groups"]]:
    """Return some images' part of a loss over a global batch, and what each of their texts adds to it, detached.

    The parts of all images sum up to `contrastive_loss`, and for the sigmoid loss to SigLIP's before its division by
    the batch size. An image's loss is the mean over its texts.
    """
    num_rows = rows.stop - rows.start
    metrics = {"logit_scale": pairs.scale.detach().float() * num_rows}
    if loss == "sigmoid":
        assert pairs.bias is not None, "the sigmoid loss is trained with a bias"
        found = sigmoid_rows(
            pairs.images[rows],
            pairs.texts,
            pairs.scale,
            pairs.bias,
            first=rows.start,
            num_groups=pairs.num_groups,
            labels=pairs.labels_of_images(rows),
        )
        metrics |= {
            "image_to_text_accuracy": found.correct.sum().float(),
            "logit_bias": pairs.bias.detach().float() * num_rows,
        }
        return LossSum(total=found.total, metrics=metrics), found.by_group
    to_texts = [_images_to_texts(part, rows) for part in ([pairs] if several == "multi_positive" else pairs.groups())]
    to_images = [_texts_to_images(group, rows) for group in pairs.groups()]
    metrics |= {
        "image_to_text_accuracy": _mean([one.correct.sum().float() for one in to_texts]),
        "text_to_image_accuracy": _mean([one.correct.sum().float() for one in to_images]),
    }
    total = (_mean([one.total for one in to_texts]) + _mean([one.total for one in to_images])) / 2
    by_group = [torch.cat([one.by_group for one in ways], dim=1) for ways in (to_texts, to_images)]
    return LossSum(total=total, metrics=metrics), (by_group[0] + by_group[1]) / 2


def _images_to_texts(pairs: PairFeatures, rows: slice) -> RowLosses:
    return softmax_rows(
        pairs.images[rows],
        pairs.texts,
        pairs.scale,
        first=rows.start,
        num_groups=pairs.num_groups,
        labels=pairs.labels_of_images(rows),
    )


def _texts_to_images(group: PairFeatures, rows: slice) -> RowLosses:
    labels = group.labels_of_texts(rows)
    return softmax_rows(group.texts[rows], group.images, group.scale, first=rows.start, labels=labels)


def _mean(values: Sequence[Tensor]) -> Tensor:
    return values[0] if len(values) == 1 else torch.stack(list(values)).mean()


class ContrastiveTask:
    """Train a CLIP on ImageTextBatches; the loss couples all samples of a global batch."""

    def __init__(
        self,
        image_mean: Sequence[float],
        image_std: Sequence[float],
        *,
        loss: LossName = "softmax",
        several_captions: SeveralCaptions = "multi_positive",
        duplicates_are_negatives: bool = True,
        sources: Sequence[str] = (),
        float32_attention: bool = True,
    ):
        """`sources` are the caption sources whose losses are logged apart.

        `float32_attention` computes attention on a CPU in float32 also where all else is bfloat16.
        """
        self.image_mean = tuple(image_mean)
        self.image_std = tuple(image_std)
        self._loss: LossName = loss
        self._several_captions: SeveralCaptions = several_captions
        self._duplicates_are_negatives = duplicates_are_negatives
        self._sources = tuple(sources)
        self._float32_attention = float32_attention

    def count(self, batch: ImageTextBatch) -> int:
        """Return the number of samples."""
        return len(batch.keys)

    def features(
        self, model: nn.Module, batch: ImageTextBatch, step: int, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Return unit image and text features, the logit scale, and what the loss and its log must know of each row.

        Images are encoded once however many captions they have, and all captions together.
        """
        images = normalise_images(batch.images, self.image_mean, self.image_std)
        clip = cast(CLIP, model)
        with attention_kernels(images.device, in_float32=self._float32_attention):
            image_features = encode_rows(clip.encode_image, images)
            text_features = encode_text(clip, *_all_texts(batch))
        features = {
            "images": _unit(image_features),
            "texts": _by_image(_unit(text_features), 1 + len(batch.further)),
            "logit_scale": _at_least_float32(clip.logit_scale).exp(),
            **self._facts(batch, images.device),
        }
        if clip.logit_bias is not None:
            features["logit_bias"] = _at_least_float32(clip.logit_bias)
        return features

    def coupled_loss(self, features: dict[str, Tensor], step: int, mine: slice) -> LossSum:
        """Return the contrastive loss of this rank's rows against the global batch."""
        num_rows = len(features["images"])
        is_whole = mine == slice(0, num_rows) and num_rows**2 <= SLICE_PAIRS
        is_plain = features["texts"].ndim == features["images"].ndim and "labels" not in features
        if is_whole and is_plain and self._loss == "softmax":
            # Half the products of the general form, which computes each direction for itself.
            sums, by_row = contrastive_loss(features["images"], features["texts"], features["logit_scale"])
            by_group = by_row[:, None]
        else:
            sums, by_group = loss_of_rows(_pairs(features), mine, self._loss, several=self._several_captions)
        return LossSum(total=sums.total, metrics=sums.metrics, shares=self._by_source(features, mine, by_group))

    def _facts(self, batch: ImageTextBatch, device: torch.device) -> dict[str, Tensor]:
        facts = {}
        if self._sources:
            groups = [batch.sources, *(group.sources for group in batch.further)]
            numbers = torch.tensor([[self._sources.index(one) for one in group] for group in groups], device=device)
            facts["sources"] = numbers.T.to(torch.int64)
            facts["lengths"] = torch.stack(_of_groups(batch, "token_lengths"), dim=1)
            facts["truncated"] = torch.stack(_of_groups(batch, "truncated"), dim=1).to(torch.int64)
        if not self._duplicates_are_negatives:
            facts["labels"] = _labels(batch).to(device)
        return facts

    def _by_source(
        self, features: Mapping[str, Tensor], mine: slice, by_group: Float[Tensor, "rows groups"]
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Return each caption source's loss, realised share, tokens a caption and share of cut-off captions."""
        shares: dict[str, tuple[Tensor, Tensor]] = {}
        if not self._sources:
            return shares
        sources, lengths, truncated = (features[name][mine] for name in ("sources", "lengths", "truncated"))
        for number, source in enumerate(self._sources):
            chosen = (sources == number).float()
            count = chosen.sum()
            shares[f"share/{source}"] = (count, torch.full_like(count, chosen.numel()))
            shares[f"loss/{source}"] = ((by_group.float() * chosen).sum(), count)
            shares[f"tokens/{source}"] = ((lengths * chosen).sum(), count)
            shares[f"truncated/{source}"] = ((truncated * chosen).sum(), count)
        return shares


def _of_groups(batch: ImageTextBatch, name: str) -> list[Tensor]:
    return [getattr(batch, name), *(getattr(group, name) for group in batch.further)]


def _all_texts(batch: ImageTextBatch) -> tuple[Int64[Tensor, "texts tokens"], Int64[Tensor, " texts"]]:
    """Return ids and lengths of all captions, group after group."""
    if not batch.further:
        return batch.token_ids, batch.token_lengths
    return torch.cat(_of_groups(batch, "token_ids")), torch.cat(_of_groups(batch, "token_lengths"))


def _by_image(texts: Float[Tensor, "texts width"], num_groups: int) -> Float[Tensor, "batch *groups width"]:
    """Return texts so that rows are images, which is what ranks and microbatches share out."""
    return texts if num_groups == 1 else rearrange(texts, "(group row) width -> row group width", group=num_groups)


def _pairs(features: Mapping[str, Tensor]) -> PairFeatures:
    """Return a global batch's features, texts group after group."""
    texts, labels = features["texts"], features.get("labels")
    if texts.ndim == 3:
        texts = rearrange(texts, "row group width -> (group row) width")
    text_labels = None
    if labels is not None:
        picture, *captions = labels.unbind(dim=1)
        text_labels = torch.cat([torch.stack([picture, caption], dim=1) for caption in captions])
    return PairFeatures(
        images=features["images"],
        texts=texts,
        scale=features["logit_scale"],
        bias=features.get("logit_bias"),
        image_labels=labels,
        text_labels=text_labels,
    )


def _labels(batch: ImageTextBatch) -> Int64[Tensor, "batch kinds"]:
    """Return the numbers of each image's picture and of its captions."""
    assert batch.image_ids is not None, "the loader numbers pictures"
    groups = [batch.texts, *(group.texts for group in batch.further)]
    captions = torch.tensor([[derive(text) for text in group] for group in groups], dtype=torch.int64)
    return torch.cat([batch.image_ids.cpu()[:, None], captions.T], dim=1)


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def _unit(features: Float[Tensor, "batch width"]) -> Float[Tensor, "batch width"]:
    return normalize(_at_least_float32(features), dim=-1)


def normalise_images(
    images: Num[Tensor, "batch channel height width"], mean: Sequence[float], std: Sequence[float]
) -> Float[Tensor, "batch channel height width"]:
    """Turn bytes in 0..255 into what the vision tower reads."""
    shape = (1, 3, 1, 1)
    offset = torch.tensor(mean, device=images.device).view(shape)
    spread = torch.tensor(std, device=images.device).view(shape)
    # In one buffer: three more of a batch's size cost more than the arithmetic.
    return images.to(torch.float32, copy=True).div_(255).sub_(offset).div_(spread)


@contextmanager
def attention_kernels(device: torch.device, *, in_float32: bool = True) -> Iterator[None]:
    """Have scaled_dot_product_attention run as the device does it fastest: plain matmul and softmax on a CPU.

    There bfloat16 is widened to float32 first, unless `in_float32` is false: a third of a small model's step.
    """
    if attention_implementation(device) == "sdpa":
        yield
        return
    # The switch has CUDA in its name and holds for every device's plain attention.
    before = torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed()
    torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(not in_float32)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(before)


@torch.no_grad()
def bound_logit_scale(step: int, model: nn.Module, ema: Any) -> Mapping[str, float]:
    """Keep the logit scale within [1, 100] after an update, as open_clip does."""
    cast(CLIP, model).logit_scale.clamp_(0, math.log(MAX_LOGIT_SCALE))
    return {}
