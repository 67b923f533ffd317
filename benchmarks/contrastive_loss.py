"""The contrastive loss over a large batch: time and memory of value and gradient, beside open_clip's.

Each way runs in a process of its own, so that its memory is its own:
`python -m benchmarks.contrastive_loss WAY BATCH WIDTH ROWS`.
"""

import statistics
import sys
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks.own_process import MIB, Clock, Took, run_way
from runtime.tables import markdown_table

ABOUT = """\
The loss of a batch and its gradient with respect to all features and the temperature, in float32 on one thread, all
rows on one process. Memory is the process's peak beyond that of one that makes the same features and stops there: the
gradients of the features are in it. Ours are those that `clip_train` trains with: scores in slices of 16.8 million
pairs, the gradient computed while a slice is at hand. "two captions" has two texts for each image, all against all.
open_clip's `ClipLoss` and `SigLipLoss` hold the whole matrix, several times with autograd's copies; at 32,768 one copy
takes 4 GiB, so they were run on smaller batches only, where the ratios can be read."""
_LIMITS = "The bar: a batch of 32,768 in less than 1 GiB beyond the features."
_SCALE, _BIAS = 14.0, -10.0


@dataclass(frozen=True, kw_only=True)
class Size:
    """What is computed."""

    batch_size: int = 32_768
    """Of our losses."""
    compared: tuple[int, ...] = (4096, 8192)
    """Batches on which open_clip's losses run as well."""
    width: int = 512


SIZES = {"full": Size(), "tiny": Size(batch_size=96, compared=(64,), width=16)}


def measure(size: Size, repeats: int) -> str:
    """Return the table of seconds and memory of each way."""
    works = [
        (way, count)
        for count in size.compared
        for way in ("softmax", "open_clip softmax", "sigmoid", "open_clip sigmoid")
    ]
    works += [("softmax", size.batch_size), ("sigmoid", size.batch_size), ("two captions", size.batch_size // 2)]
    rows = []
    for way, count in works:
        took = [run_way(__name__, way, count, size.width, count) for _ in range(repeats)]
        bare = run_way(__name__, "features of " + way, count, size.width, count)
        rows.append(_row(way, count, took, bare))
    return f"{markdown_table(['way', 'batch', 'seconds', 'CPU seconds', 'MiB beyond the features'], rows)}\n\n{_LIMITS}"


def _row(way: str, count: int, took: list[Took], bare: Took) -> list[str]:
    seconds, cpu_seconds, peak = (
        statistics.median(getattr(one, name) for one in took) for name in ("seconds", "cpu_seconds", "peak_bytes")
    )
    return [way, f"{count:,}", f"{seconds:.1f}", f"{cpu_seconds:.1f}", f"{(peak - bare.peak_bytes) / MIB:,.0f}"]


def work(way: str, count: int, width: int, num_rows: int) -> None:
    """Compute a loss of a batch's first rows and its gradient, and tell what that took."""
    # All imported before memory is looked at, also by the way that only makes features.
    import open_clip

    from clip_train.contrastive import loss_of_rows
    from clip_train.losses import PairFeatures

    torch.set_num_threads(1)
    torch.manual_seed(0)
    num_groups = 2 if way.endswith("two captions") else 1
    images, texts = (
        normalize(torch.randn(number, width), dim=-1).requires_grad_() for number in (count, count * num_groups)
    )
    scale, bias = (torch.tensor(value, requires_grad=True) for value in (_SCALE, _BIAS))
    clock = Clock.now()
    if way.startswith("features of"):
        clock.tell(count)
        return
    total: Tensor
    if way == "open_clip softmax":
        total = open_clip.ClipLoss()(images, texts, scale)
    elif way == "open_clip sigmoid":
        total = open_clip.loss.SigLipLoss()(images, texts, scale, bias)
    else:
        pairs = PairFeatures(images=images, texts=texts, scale=scale, bias=bias)
        total = loss_of_rows(pairs, slice(0, num_rows), "sigmoid" if way == "sigmoid" else "softmax")[0].total / count
    total.backward()
    assert images.grad is not None and images.grad.isfinite().all()
    clock.tell(count)


if __name__ == "__main__":
    work(sys.argv[1], *map(int, sys.argv[2:]))
