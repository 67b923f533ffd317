"""The losses of a rank's rows: exact, whatever the ranks and slices, and equal to open_clip's."""

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

import open_clip
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, logsigmoid, normalize
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.own_process import run_way
from clip_train.contrastive import LossName, loss_of_rows
from clip_train.losses import Labels, PairFeatures, left_out, sigmoid_rows, softmax_rows
from runtime.gradients import compute_gradients
from tests.fakes import run_distributed
from tests.runtime.toys import ToyBatch, loop_config

WIDTH = 16
EXACT = {"rtol": 1e-10, "atol": 1e-12}


def features(count: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(count)
    rows = [normalize(torch.randn(count, WIDTH, generator=generator, dtype=dtype), dim=-1) for _ in range(2)]
    scalars = [torch.tensor(value, dtype=dtype) for value in (14.0, -10.0)]
    return [tensor.requires_grad_() for tensor in (*rows, *scalars)]


def pairs_of(tensors: list[Tensor], labels: Tensor | None = None) -> PairFeatures:
    images, texts, scale, bias = tensors
    return PairFeatures(images=images, texts=texts, scale=scale, bias=bias, image_labels=labels, text_labels=labels)


def over_ranks(tensors: list[Tensor], loss: LossName, num_ranks: int) -> tuple[Tensor, list[Tensor]]:
    """Return the sum of the ranks' parts and of their gradients: what all-reducing them gives."""
    count = len(tensors[0])
    bounds = [round(count * rank / num_ranks) for rank in range(num_ranks + 1)]
    parts = [loss_of_rows(pairs_of(tensors), slice(*pair), loss)[0].total for pair in pairwise(bounds)]
    used = tensors if loss == "sigmoid" else tensors[:3]
    gradients = [torch.autograd.grad(part, used) for part in parts]
    return torch.stack(parts).sum(), [torch.stack(found).sum(dim=0) for found in zip(*gradients)]


def of_open_clip(tensors: list[Tensor], loss: LossName) -> tuple[Tensor, list[Tensor]]:
    images, texts, scale, bias = tensors
    if loss == "sigmoid":
        value, used = open_clip.loss.SigLipLoss()(images, texts, scale, bias), tensors
    else:
        value, used = open_clip.ClipLoss()(images, texts, scale), tensors[:3]
    total = value * len(images)
    return total, list(torch.autograd.grad(total, used))


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
@pytest.mark.parametrize("num_ranks", [1, 2, 4])
@pytest.mark.parametrize("count", [4, 33])
def test_parts_of_all_ranks_are_open_clips_loss_and_gradient(loss: LossName, num_ranks: int, count: int) -> None:
    found, found_gradients = over_ranks(features(count), loss, num_ranks)
    wanted, wanted_gradients = of_open_clip(features(count), loss)
    torch.testing.assert_close(found, wanted, **EXACT)
    torch.testing.assert_close(found_gradients, wanted_gradients, **EXACT)


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_float32_stays_within_its_rounding(loss: LossName) -> None:
    found, found_gradients = over_ranks(features(64, torch.float32), loss, 2)
    wide = [one.detach().double().requires_grad_() for one in features(64, torch.float32)]
    wanted, wanted_gradients = of_open_clip(wide, loss)
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=0)
    for mine, other in zip(found_gradients, wanted_gradients, strict=True):
        assert (mine - other).norm() <= 1e-5 * other.norm()


@pytest.mark.parametrize("rows_function", [softmax_rows, sigmoid_rows], ids=["softmax", "sigmoid"])
@pytest.mark.parametrize("slice_pairs", [1, 40, 10_000])
def test_slices_change_nothing(rows_function: Callable, slice_pairs: int) -> None:
    results = []
    for pairs in (slice_pairs, 1 << 24):
        images, texts, scale, bias = features(13)
        inputs = (images, texts, scale) if rows_function is softmax_rows else (images, texts, scale, bias)
        found = rows_function(images[3:9], *inputs[1:], first=3, slice_pairs=pairs)
        results.append((found.total, found.by_group, found.correct, torch.autograd.grad(found.total, inputs)))
    torch.testing.assert_close(results[0], results[1], **EXACT)


def test_gradients_are_those_of_finite_differences() -> None:
    images, texts, scale, bias = features(5)
    numbers = torch.tensor([[1, 5], [2, 6], [1, 7], [3, 6], [4, 8]])
    labels = Labels(queries=numbers, keys=numbers)
    softmax = lambda *x: softmax_rows(*x, first=0, labels=labels, slice_pairs=7).total  # noqa: E731
    sigmoid = lambda *x: sigmoid_rows(*x, first=0, labels=labels, slice_pairs=7).total  # noqa: E731
    assert torch.autograd.gradcheck(softmax, (images, texts, scale))
    assert torch.autograd.gradcheck(sigmoid, (images, texts, scale, bias))


def test_equal_pictures_and_equal_captions_are_no_negatives_over_ranks() -> None:
    count = 9
    identities = torch.stack([torch.arange(count), 100 + torch.arange(count)], dim=1)
    identities[7, 0] = identities[1, 0]
    identities[5, 1] = identities[2, 1]
    out = torch.zeros(count, count, dtype=torch.bool)
    for i, j in ((7, 1), (5, 2)):
        out[i, j] = out[j, i] = True
    labels = Labels(queries=identities, keys=identities)
    assert torch.equal(left_out(labels, slice(0, count), torch.arange(count)[:, None]), out)
    images, texts, scale, bias = features(count)
    logits = scale * images @ texts.T
    partners = torch.arange(count)
    masked = logits.masked_fill(out, -math.inf)
    softmax = sum(cross_entropy(one, partners, reduction="sum") for one in (masked, masked.T)) / 2
    signs = 2 * torch.eye(count, dtype=torch.float64) - 1
    sigmoid = -(logsigmoid(signs * (logits + bias)) * ~out).sum()
    for loss, wanted in (("softmax", softmax), ("sigmoid", sigmoid)):
        parts = [loss_of_rows(pairs_of([images, texts, scale, bias], identities), rows, loss)[0].total
                 for rows in (slice(0, 4), slice(4, 9))]  # fmt: skip
        torch.testing.assert_close(sum(parts), wanted, **EXACT)


def test_rows_and_hits_are_told_apart() -> None:
    images, texts, scale, _ = features(6)
    found = softmax_rows(images[2:5], texts, scale, first=2)
    logits = scale * images[2:5] @ texts.T
    expected = cross_entropy(logits, torch.arange(2, 5), reduction="none")
    torch.testing.assert_close(found.by_row, expected.detach(), **EXACT)
    assert torch.equal(found.correct, logits.argmax(dim=1) == torch.arange(2, 5))
    torch.testing.assert_close(found.total, expected.sum(), **EXACT)


class LinearTask:
    """Contrast two linear views of rows by the losses of a rank's rows, in float64."""

    def __init__(self, loss: LossName):
        self.loss = loss

    def count(self, batch: ToyBatch) -> int:
        return len(batch.rows)

    def features(self, model: torch.nn.Module, batch: ToyBatch, step: int, generator: object) -> dict[str, Tensor]:
        first, second = model["first"](batch.rows), model["second"](batch.rows)  # type: ignore[operator,index]
        scale, bias = model["scalars"].weight[0]  # type: ignore[index]
        return {"a": normalize(first, dim=-1), "b": normalize(second, dim=-1), "scale": scale.exp(), "bias": bias}

    def coupled_loss(self, features: dict[str, Tensor], step: int, mine: slice):  # type: ignore[no-untyped-def]
        pairs = PairFeatures(images=features["a"], texts=features["b"], scale=features["scale"], bias=features["bias"])
        return loss_of_rows(pairs, mine, self.loss)[0]


def gradients_on_rank(rank: int, world_size: int, num_parts: int, loss: LossName) -> dict[str, Tensor]:
    from runtime.engine import Engine

    torch.manual_seed(5)
    rows = torch.randn(16, 6, dtype=torch.float64)
    model = torch.nn.ModuleDict(
        {"first": torch.nn.Linear(6, 4), "second": torch.nn.Linear(6, 4), "scalars": torch.nn.Linear(2, 1, bias=False)}
    ).double()
    size = 16 // (world_size * num_parts)
    starts = [(rank * num_parts + part) * size for part in range(num_parts)]
    batches = [ToyBatch(("k",) * size, rows[start : start + size], torch.zeros(size)) for start in starts]
    task = LinearTask(loss)
    with patch("runtime.engine.set_storage_types"):  # which would round the weights to float32
        engine = Engine(task, model, loop_config(device="cpu", batch_size=16))
    compute_gradients(engine, task, batches, seed=0, step=0, batch_size=16)
    return {name: weight.grad for name, weight in model.named_parameters()}


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
@pytest.mark.parametrize("num_parts", [2, 8])
def test_cached_features_give_the_gradient_of_the_whole_batch(loss: LossName, num_parts: int) -> None:
    """The temperature's too, which grows with the number of parts in open_clip's --accum-freq."""
    whole, parts = gradients_on_rank(0, 1, 1, loss), gradients_on_rank(0, 1, num_parts, loss)
    assert whole["scalars.weight"].abs().sum() > 0
    torch.testing.assert_close(parts, whole, **EXACT)


@pytest.mark.slow
@pytest.mark.parametrize("world_size", [2, 4])
@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_gloo_ranks_have_the_gradient_of_one_process(world_size: int, loss: LossName, tmp_path: Path) -> None:
    whole = gradients_on_rank(0, 1, 1, loss)
    for found in run_distributed(gradients_on_rank, world_size, world_size, 2, loss):
        torch.testing.assert_close(found, whole, **EXACT)


class LargestTensor(TorchDispatchMode):
    """Notes the most numbers that any tensor holds which is made while it watches."""

    def __init__(self) -> None:
        super().__init__()
        self.num_numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, Tensor):
                self.num_numbers = max(self.num_numbers, tensor.numel())
        return result


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_no_tensor_ever_holds_more_than_a_slice_of_pairs(loss: LossName, monkeypatch: pytest.MonkeyPatch) -> None:
    """Value and gradient, with labels of duplicates; the whole matrix would have eight times as many."""
    count, slice_pairs = 128, 1 << 11
    numbers = torch.arange(2 * count).reshape(count, 2)
    found = {}
    for limit in (slice_pairs, count**2):
        for rows_function in (softmax_rows, sigmoid_rows):
            whole = partial(rows_function, slice_pairs=limit)
            monkeypatch.setattr(f"clip_train.contrastive.{rows_function.__name__}", whole)
        tensors = features(count)
        with LargestTensor() as watched:
            loss_of_rows(pairs_of(tensors, numbers), slice(0, count), loss)[0].total.backward()
        found[limit] = watched.num_numbers
    assert found == {slice_pairs: max(slice_pairs, count * WIDTH), count**2: count**2}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_batch_of_32768_stays_below_one_gibibyte() -> None:
    """A sixteenth of the rows, which take as much memory as all; every score at once would take 4 GiB, and autograd's
    copies several times that.
    """
    count, width = 32_768, 512
    bare = run_way("benchmarks.contrastive_loss", "features of softmax", count, width, count)
    for way in ("softmax", "sigmoid"):
        took = run_way("benchmarks.contrastive_loss", way, count, width, count // 16)
        assert 0 < took.peak_bytes - bare.peak_bytes < 1 << 30
