"""Contrastive losses over a global batch, for the rows of one rank, without ever holding all pairs at once.

A rank compares its own images with all texts and its own texts with all images: summed over ranks, that is the whole
loss, and its gradient with respect to all features sums up likewise. Rows are taken in slices: a slice's scores, their
loss and their gradient are computed together and forgotten: memory grows with the batch and not with its square.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.functional import logsigmoid

SLICE_PAIRS = 1 << 24
"""Pairs whose scores are held at a time: 64 MiB in float32, and about four times that with what they are made into."""


@dataclass(frozen=True, kw_only=True)
class PairFeatures:
    """What a global batch's loss is computed from; rows are unit vectors."""

    images: Float[Tensor, "batch width"]
    texts: Float[Tensor, "batch width"]
    scale: Float[Tensor, ""]
    """Factor between a cosine and a score, not its logarithm."""
    bias: Float[Tensor, ""] | None = None
    """What is added to every score; the sigmoid loss needs it."""
    identities: Int64[Tensor, "batch kinds"] | None = None
    """Numbers that are equal for equal pictures (one column) or captions (another); such pairs are left out."""


@dataclass(frozen=True, kw_only=True)
class RowLosses:
    """A loss and what became of each row."""

    total: Float[Tensor, ""]
    """Sum over the rows, differentiable."""
    by_row: Float[Tensor, " rows"]
    """Its terms, detached."""
    correct: Bool[Tensor, " rows"]
    """Whether the right partner scores highest."""


def softmax_rows(
    queries: Float[Tensor, "rows width"],
    keys: Float[Tensor, "batch width"],
    scale: Float[Tensor, ""],
    *,
    first: int,
    identities: Int64[Tensor, "batch kinds"] | None = None,
    slice_pairs: int = SLICE_PAIRS,
) -> RowLosses:
    """Return the cross-entropy of each query against all keys, exactly; query i belongs to key `first` + i.

    One direction of Radford et al. 2021, figure 3. Computed in the features' own precision, float32 at least.
    """
    return RowLosses(**_named(_SoftmaxRows.apply(queries, keys, scale, first, identities, slice_pairs)))


def sigmoid_rows(
    queries: Float[Tensor, "rows width"],
    keys: Float[Tensor, "batch width"],
    scale: Float[Tensor, ""],
    bias: Float[Tensor, ""],
    *,
    first: int,
    identities: Int64[Tensor, "batch kinds"] | None = None,
    slice_pairs: int = SLICE_PAIRS,
) -> RowLosses:
    """Return the sigmoid loss of each query over all keys, exactly; query i belongs to key `first` + i.

    Zhai et al. 2023, equation 1, before its division by the batch size.
    """
    return RowLosses(**_named(_SigmoidRows.apply(queries, keys, scale, bias, first, identities, slice_pairs)))


def left_out(
    identities: Int64[Tensor, "batch kinds"], rows: slice, targets: Int64[Tensor, " rows"]
) -> Bool[Tensor, "rows batch"]:
    """Tell which pairs are no negatives: another row's picture or caption is this row's too."""
    same = (identities[rows, None, :] == identities[None, :, :]).any(dim=-1)
    return same.scatter(1, targets[:, None], False)


def _named(outputs: tuple[Tensor, Tensor, Tensor]) -> dict[str, Tensor]:
    return dict(zip(("total", "by_row", "correct"), outputs, strict=True))


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


def _shifted(rows: slice, by: int) -> slice:
    return slice(rows.start + by, rows.stop + by)


def _widened(*tensors: Tensor) -> list[Tensor]:
    """Return the tensors in float32, or wider where they are."""
    return [tensor.detach() if tensor.dtype == torch.float64 else tensor.detach().float() for tensor in tensors]


class _SoftmaxRows(Function):
    @staticmethod
    def forward(
        ctx: Any, queries: Tensor, keys: Tensor, scale: Tensor, first: int, identities: Tensor | None, slice_pairs: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        wide_queries, wide_keys, wide_scale = _widened(queries, keys, scale)
        gradients = _Gradients(wide_queries, wide_keys, num_scalars=1)
        by_row = wide_queries.new_empty(len(queries))
        correct = torch.empty(len(queries), dtype=torch.bool, device=queries.device)
        for rows in _slices(len(queries), len(keys), slice_pairs):
            targets = torch.arange(rows.start + first, rows.stop + first, device=queries.device)
            scores = wide_scale * wide_queries[rows] @ wide_keys.T
            shown = scores
            if identities is not None:
                shown = scores.masked_fill(left_out(identities, _shifted(rows, first), targets), -torch.inf)
            normaliser = shown.logsumexp(dim=1)
            by_row[rows] = normaliser - scores.gather(1, targets[:, None])[:, 0]
            correct[rows] = shown.argmax(dim=1) == targets
            pull = (shown - normaliser[:, None]).exp_()
            pull.scatter_add_(1, targets[:, None], -torch.ones_like(pull[:, :1]))
            gradients.add(rows, scores, pull, wide_queries, wide_keys, wide_scale)
        ctx.save_for_backward(gradients.queries, gradients.keys, gradients.scalars[0])
        ctx.dtypes = queries.dtype, keys.dtype, scale.dtype
        ctx.mark_non_differentiable(by_row, correct)
        return by_row.sum(), by_row, correct

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, pulled: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        found = [(pulled * gradient).to(dtype) for gradient, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True)]
        return (*found, None, None, None)


class _SigmoidRows(Function):
    @staticmethod
    def forward(
        ctx: Any,
        queries: Tensor,
        keys: Tensor,
        scale: Tensor,
        bias: Tensor,
        first: int,
        identities: Tensor | None,
        slice_pairs: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        wide_queries, wide_keys, wide_scale, wide_bias = _widened(queries, keys, scale, bias)
        gradients = _Gradients(wide_queries, wide_keys, num_scalars=2)
        by_row = wide_queries.new_empty(len(queries))
        correct = torch.empty(len(queries), dtype=torch.bool, device=queries.device)
        for rows in _slices(len(queries), len(keys), slice_pairs):
            targets = torch.arange(rows.start + first, rows.stop + first, device=queries.device)
            scores = wide_scale * wide_queries[rows] @ wide_keys.T
            # Wrong partners count with their sign turned: -1 for all but the target.
            signs = torch.full_like(scores, -1).scatter_(1, targets[:, None], 1)
            signed = signs * (scores + wide_bias)
            losses, pull = -logsigmoid(signed), -signs * torch.sigmoid(-signed)
            if identities is not None:
                out = left_out(identities, _shifted(rows, first), targets)
                losses, pull = losses.masked_fill(out, 0), pull.masked_fill(out, 0)
            by_row[rows] = losses.sum(dim=1)
            correct[rows] = scores.argmax(dim=1) == targets
            gradients.add(rows, scores, pull, wide_queries, wide_keys, wide_scale)
            gradients.scalars[1] += pull.sum()
        ctx.save_for_backward(gradients.queries, gradients.keys, *gradients.scalars)
        ctx.dtypes = queries.dtype, keys.dtype, scale.dtype, bias.dtype
        ctx.mark_non_differentiable(by_row, correct)
        return by_row.sum(), by_row, correct

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, pulled: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        found = [(pulled * gradient).to(dtype) for gradient, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True)]
        return (*found, None, None, None)
