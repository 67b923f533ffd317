"""Losses over gloo ranks beside open_clip's own: local softmax with gathered features, SigLIP's in all four ways."""

from itertools import product

import open_clip
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from clip_train.contrastive import LossName, loss_of_rows
from clip_train.losses import PairFeatures
from tests.fakes import run_distributed

PER_RANK, WIDTH = 5, 8
WAYS = {
    "softmax": lambda rank, size: open_clip.ClipLoss(
        local_loss=True, gather_with_grad=True, rank=rank, world_size=size
    ),
    **{
        way: lambda rank, size, way=way: open_clip.loss.SigLipLoss(rank=rank, world_size=size, dist_impl=way)
        for way in ("bidir", "shift", "reduce", "gather")
    },
}


def whole_batch(world_size: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(world_size)
    rows = [torch.randn(PER_RANK * world_size, WIDTH, generator=generator, dtype=torch.float64) for _ in range(2)]
    scalars = [torch.tensor(value, dtype=torch.float64) for value in (7.0, -4.0)]
    return [*(normalize(one, dim=-1) for one in rows), *scalars]


def theirs_on_rank(rank: int, world_size: int, way: str) -> tuple[Tensor, list[Tensor]]:
    """Return open_clip's loss on one rank and the gradients of its own features and of scale and bias."""
    images, texts, *scalars = whole_batch(world_size)
    mine = slice(rank * PER_RANK, (rank + 1) * PER_RANK)
    leaves = [one.clone().requires_grad_() for one in (images[mine], texts[mine], *scalars)]
    used = leaves[:3] if way == "softmax" else leaves
    loss = WAYS[way](rank, world_size)(*used)
    loss.backward()
    return loss.detach(), [leaf.grad for leaf in used]


@pytest.mark.slow
@pytest.mark.parametrize(("way", "world_size"), list(product(WAYS, (2, 4))))
def test_ours_equals_what_their_ranks_average_to(way: str, world_size: int) -> None:
    leaves = [one.requires_grad_() for one in whole_batch(world_size)]
    pairs = PairFeatures(images=leaves[0], texts=leaves[1], scale=leaves[2], bias=leaves[3])
    name: LossName = "softmax" if way == "softmax" else "sigmoid"
    parts = [
        loss_of_rows(pairs, slice(rank * PER_RANK, (rank + 1) * PER_RANK), name)[0].total for rank in range(world_size)
    ]
    ours = torch.stack(parts).sum() / (world_size * PER_RANK)
    used = leaves[:3] if way == "softmax" else leaves
    gradients = torch.autograd.grad(ours, used)
    found = run_distributed(theirs_on_rank, world_size, world_size, way)
    exact = {"rtol": 1e-10, "atol": 1e-12}
    torch.testing.assert_close(torch.stack([loss for loss, _ in found]).mean(), ours.detach(), **exact)
    for index, gradient in enumerate(gradients):
        each = [theirs[index] for _, theirs in found]
        # DDP averages over ranks; a rank's features are nobody else's, so that their average is their sum over ranks.
        wanted = torch.cat(each) / world_size if gradient.ndim else torch.stack(each).mean()
        torch.testing.assert_close(wanted, gradient, **exact)
