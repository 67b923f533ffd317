"""Contrastive losses over a global batch, for the rows of one rank, without ever holding all pairs at once.

An image may have several texts, as many as there are groups: all texts of the first group come first, then all of the
second, each group in the images' order.

A rank compares its own images with all texts and its own texts with all images: summed over ranks, that is the whole
loss, and its gradient with respect to all features sums up likewise. Rows are taken in slices: a slice's scores, their
loss and their gradient are computed together and forgotten: memory grows with the batch and not with its square.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from einops import reduce
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.functional import logsigmoid

SLICE_PAIRS = 1 << 24
"""Pairs whose scores are held at a time: 64 MiB in float32, and about four times that with what they are made into."""


@dataclass(frozen=True, kw_only=True)
class Labels:
    """Numbers by which queries and keys are known to belong together though they are no partners."""

    queries: Int64[Tensor, "queries query_kinds"]
    keys: Int64[Tensor, "keys key_kinds"]


@dataclass(frozen=True, kw_only=True)
class PairFeatures:
    """What a global batch's loss is computed from; rows are unit vectors."""

    images: Float[Tensor, "batch width"]
    texts: Float[Tensor, "texts width"]
    """One for each image and group."""
    scale: Float[Tensor, ""]
    """Factor between a cosine and a score, not its logarithm."""
    bias: Float[Tensor, ""] | None = None
    """What is added to every score; the sigmoid loss needs it."""
    image_labels: Int64[Tensor, "batch image_kinds"] | None = None
    """Numbers of each image's picture and captions."""
    text_labels: Int64[Tensor, "texts text_kinds"] | None = None
    """Numbers of each text's picture and of itself; a pair that has a number in common is no negative. Both or none."""

    @property
    def num_groups(self) -> int:
        """Return how many texts each image has."""
        return len(self.texts) // max(1, len(self.images))

    def groups(self) -> "list[PairFeatures]":
        """Return the images with each group of texts by itself."""
        return [
            replace(self, texts=texts, text_labels=labels)
            for texts, labels in zip(self._cut(self.texts), self._cut(self.text_labels))
        ]

    def labels_of_images(self, rows: slice) -> Labels | None:
        """Return what tells which texts are no negatives of some images."""
        if self.image_labels is None or self.text_labels is None:
            return None
        return Labels(queries=self.image_labels[rows], keys=self.text_labels)

    def labels_of_texts(self, rows: slice) -> Labels | None:
        """Return what tells which images are no negatives of some texts."""
        if self.image_labels is None or self.text_labels is None:
            return None
        return Labels(queries=self.text_labels[rows], keys=self.image_labels)

    def _cut(self, rows: Tensor | None) -> list[Any]:
        return [None] * self.num_groups if rows is None else list(rows.chunk(self.num_groups))


@dataclass(frozen=True, kw_only=True)
class RowLosses:
    """A loss and what became of each row."""

    total: Float[Tensor, ""]
    """Sum over the rows, differentiable."""
    by_group: Float[Tensor, "rows groups"]
    """What each group of keys adds to each row's loss, which is their mean; detached."""
    correct: Bool[Tensor, " rows"]
    """Whether one of the right partners scores highest."""

    @property
    def by_row(self) -> Float[Tensor, " rows"]:
        """Return each row's loss, detached."""
        return self.by_group.mean(dim=1)


def softmax_rows(
    queries: Float[Tensor, "queries width"],
    keys: Float[Tensor, "keys width"],
    scale: Float[Tensor, ""],
    *,
    first: int,
    num_groups: int = 1,
    labels: Labels | None = None,
    slice_pairs: int = SLICE_PAIRS,
) -> RowLosses:
    """Return the cross-entropy of each query against all keys, exactly; query i belongs to key `first` + i.

    One direction of Radford et al. 2021, figure 3. Of several groups of keys the query belongs to one key in each: its
    loss is then the mean over its partners, all keys in the normaliser (Khosla et al. 2020, equation 2). Computed in
    the features' own precision, float32 at least.
    """
    return RowLosses(**_named(_SoftmaxRows.apply(queries, keys, scale, first, num_groups, labels, slice_pairs)))


def sigmoid_rows(
    queries: Float[Tensor, "queries width"],
    keys: Float[Tensor, "keys width"],
    scale: Float[Tensor, ""],
    bias: Float[Tensor, ""],
    *,
    first: int,
    num_groups: int = 1,
    labels: Labels | None = None,
    slice_pairs: int = SLICE_PAIRS,
) -> RowLosses:
    """Return the sigmoid loss of each query over all keys, exactly; query i belongs to key `first` + i of each group.

    Zhai et al. 2023, equation 1, before its division by the batch size; the mean over groups.
    """
    return RowLosses(**_named(_SigmoidRows.apply(queries, keys, scale, bias, first, num_groups, labels, slice_pairs)))


def left_out(labels: Labels, rows: slice, targets: Int64[Tensor, "rows groups"]) -> Bool[Tensor, "rows keys"]:
    """Tell which pairs are no negatives: they have a picture or a caption in common and are no partners."""
    mine, others = labels.queries[rows], labels.keys
    same = torch.zeros(len(mine), len(others), dtype=torch.bool, device=others.device)
    for own in mine.unbind(dim=1):
        for other in others.unbind(dim=1):
            same |= own[:, None] == other[None, :]
    return same.scatter_(1, targets, False)


def _named(outputs: tuple[Tensor, Tensor, Tensor]) -> dict[str, Tensor]:
    return dict(zip(("total", "by_group", "correct"), outputs, strict=True))


class _Gradients:
    """Gradients that are summed up slice by slice, while the scores are at hand."""

    def __init__(self, queries: Tensor, keys: Tensor, num_scalars: int):
        self.queries, self.keys = torch.empty_like(queries), torch.zeros_like(keys)
        self.scalars = [queries.new_zeros(()) for _ in range(num_scalars)]

    def add(self, rows: slice, scores: Tensor, pull: Tensor, queries: Tensor, keys: Tensor, scale: Tensor) -> None:
        """Add what the gradient `pull` with respect to scores (cosines times `scale`) means for the inputs."""
        self.scalars[0] += torch.vdot(pull.flatten(), scores.flatten()) / scale
        pull = pull * scale
        torch.mm(pull, keys, out=self.queries[rows])
        self.keys.addmm_(pull.T, queries[rows])


def _slices(num_rows: int, num_keys: int, slice_pairs: int) -> list[slice]:
    size = max(1, slice_pairs // max(1, num_keys))
    return [slice(start, min(start + size, num_rows)) for start in range(0, num_rows, size)]


def _targets(rows: slice, first: int, num_groups: int, keys: Tensor) -> Int64[Tensor, "rows groups"]:
    """Return each row's partner in every group of keys."""
    own = torch.arange(rows.start + first, rows.stop + first, device=keys.device)
    starts = torch.arange(num_groups, device=keys.device) * (len(keys) // num_groups)
    return own[:, None] + starts


def _widened(*tensors: Tensor) -> list[Tensor]:
    """Return the tensors in float32, or wider where they are."""
    return [tensor.detach() if tensor.dtype == torch.float64 else tensor.detach().float() for tensor in tensors]


class _SoftmaxRows(Function):
    @staticmethod
    def forward(
        ctx: Any,
        queries: Tensor,
        keys: Tensor,
        scale: Tensor,
        first: int,
        num_groups: int,
        labels: Labels | None,
        slice_pairs: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        wide_queries, wide_keys, wide_scale = _widened(queries, keys, scale)
        gradients = _Gradients(wide_queries, wide_keys, num_scalars=1)
        by_group = wide_queries.new_empty(len(queries), num_groups)
        correct = torch.empty(len(queries), dtype=torch.bool, device=queries.device)
        for rows in _slices(len(queries), len(keys), slice_pairs):
            targets = _targets(rows, first, num_groups, keys)
            scores = wide_scale * wide_queries[rows] @ wide_keys.T
            shown = scores
            if labels is not None:
                shown = scores.masked_fill(left_out(labels, rows, targets), -torch.inf)
            normaliser = shown.logsumexp(dim=1)
            by_group[rows] = normaliser[:, None] - scores.gather(1, targets)
            correct[rows] = (shown.argmax(dim=1)[:, None] == targets).any(dim=1)
            pull = (shown - normaliser[:, None]).exp_()
            pull.scatter_add_(1, targets, torch.full_like(pull[:, :num_groups], -1 / num_groups))
            gradients.add(rows, scores, pull, wide_queries, wide_keys, wide_scale)
        ctx.save_for_backward(gradients.queries, gradients.keys, gradients.scalars[0])
        ctx.dtypes = queries.dtype, keys.dtype, scale.dtype
        ctx.mark_non_differentiable(by_group, correct)
        return by_group.mean(dim=1).sum(), by_group, correct

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, pulled: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        found = [(pulled * gradient).to(dtype) for gradient, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True)]
        return (*found, None, None, None, None)


class _SigmoidRows(Function):
    @staticmethod
    def forward(  # noqa: PLR0913 (autograd passes inputs by place)
        ctx: Any,
        queries: Tensor,
        keys: Tensor,
        scale: Tensor,
        bias: Tensor,
        first: int,
        num_groups: int,
        labels: Labels | None,
        slice_pairs: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        wide_queries, wide_keys, wide_scale, wide_bias = _widened(queries, keys, scale, bias)
        gradients = _Gradients(wide_queries, wide_keys, num_scalars=2)
        by_group = wide_queries.new_empty(len(queries), num_groups)
        correct = torch.empty(len(queries), dtype=torch.bool, device=queries.device)
        for rows in _slices(len(queries), len(keys), slice_pairs):
            targets = _targets(rows, first, num_groups, keys)
            scores = wide_scale * wide_queries[rows] @ wide_keys.T
            # Wrong partners count with their sign turned: -1 for all but the targets.
            signs = torch.full_like(scores, -1).scatter_(1, targets, 1)
            signed = signs * (scores + wide_bias)
            losses, pull = -logsigmoid(signed), -signs * torch.sigmoid(-signed) / num_groups
            if labels is not None:
                out = left_out(labels, rows, targets)
                losses, pull = losses.masked_fill(out, 0), pull.masked_fill(out, 0)
            by_group[rows] = reduce(losses, "rows (groups keys) -> rows groups", "sum", groups=num_groups)
            correct[rows] = (scores.argmax(dim=1)[:, None] == targets).any(dim=1)
            gradients.add(rows, scores, pull, wide_queries, wide_keys, wide_scale)
            gradients.scalars[1] += pull.sum()
        ctx.save_for_backward(gradients.queries, gradients.keys, *gradients.scalars)
        ctx.dtypes = queries.dtype, keys.dtype, scale.dtype, bias.dtype
        ctx.mark_non_differentiable(by_group, correct)
        return by_group.mean(dim=1).sum(), by_group, correct

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, pulled: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        found = [(pulled * gradient).to(dtype) for gradient, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True)]
        return (*found, None, None, None, None)
