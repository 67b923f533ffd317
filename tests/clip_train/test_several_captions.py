"""Several captions of an image in one step: the losses equal a slow, obvious reference, whatever ranks and parts."""

import math
from dataclasses import replace
from itertools import pairwise
from unittest.mock import patch

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from clip_train.compute import ClipCost
from clip_train.contrastive import ContrastiveTask, LossName, SeveralCaptions, loss_of_rows
from clip_train.losses import PairFeatures
from clip_train.presets import MODELS
from imagetext.loader import CaptionGroup, ImageTextBatch
from runtime.gradients import compute_gradients
from runtime.task import LossSum
from tests.clip_train.test_contrastive import batch_of, tiny_model
from tests.fakes import run_distributed
from tests.runtime.toys import ToyBatch, loop_config

COUNT, WIDTH = 9, 6
EXACT = {"rtol": 1e-10, "atol": 1e-12}
LOSSES: list[tuple[LossName, SeveralCaptions]] = [
    ("softmax", "multi_positive"), ("softmax", "averaged"), ("sigmoid", "multi_positive"),
]  # fmt: skip


def features(num_groups: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return images, texts of each image, scale and bias, with gradients."""
    generator = torch.Generator().manual_seed(num_groups)
    images = normalize(torch.randn(COUNT, WIDTH, generator=generator, dtype=torch.float64), dim=-1)
    texts = normalize(torch.randn(COUNT, num_groups, WIDTH, generator=generator, dtype=torch.float64), dim=-1)
    scalars = [torch.tensor(value, dtype=torch.float64) for value in (9.0, -3.0)]
    return tuple(one.requires_grad_() for one in (images, texts, *scalars))  # type: ignore[return-value]


def duplicates(num_groups: int) -> Tensor:
    """Return numbers of pictures and captions: two pictures are equal, and two images share a caption."""
    labels = 100 + torch.arange(COUNT * (1 + num_groups)).reshape(COUNT, 1 + num_groups)
    labels[7, 0] = labels[1, 0]
    labels[5, 1] = labels[2, -1]
    return labels


def reference(
    images: Tensor,
    texts: Tensor,
    scale: Tensor,
    bias: Tensor,
    loss: LossName,
    several: SeveralCaptions,
    labels: Tensor | None = None,
) -> Tensor:
    """Return the loss summed over images, pair by pair."""
    count, num_groups = texts.shape[:2]

    def partners(image: int, other: int, group: int) -> bool:
        """Tell whether a text is one that counts in an image's loss: its own, or a true negative."""
        if labels is None or image == other:
            return True
        own, theirs = set(labels[image].tolist()), {int(labels[other, 0]), int(labels[other, 1 + group])}
        return not own & theirs

    def score(image: int, other: int, group: int) -> Tensor:
        return scale * images[image] @ texts[other, group]

    total = torch.zeros((), dtype=torch.float64)
    everything = [(other, group) for other in range(count) for group in range(num_groups)]
    for image in range(count):
        if loss == "sigmoid":
            for other, group in everything:
                if partners(image, other, group):
                    sign = 1 if image == other else -1
                    probability = 1 / (1 + torch.exp(-sign * (score(image, other, group) + bias)))
                    total = total - torch.log(probability) / num_groups
            continue
        for group in range(num_groups):
            own = torch.exp(score(image, image, group))
            rivals = [one for one in everything if several == "multi_positive" or one[1] == group]
            over_texts = sum(torch.exp(score(image, *one)) for one in rivals if partners(image, *one))
            over_images = sum(
                torch.exp(score(other, image, group)) for other in range(count) if partners(other, image, group)
            )
            total = total - (torch.log(own / over_texts) + torch.log(own / over_images)) / (2 * num_groups)
    return total


def pairs_of(images: Tensor, texts: Tensor, scale: Tensor, bias: Tensor, labels: Tensor | None) -> PairFeatures:
    text_labels = None
    if labels is not None:
        text_labels = torch.cat([labels[:, [0, 1 + group]] for group in range(texts.shape[1])])
    return PairFeatures(
        images=images, texts=texts.transpose(0, 1).reshape(-1, WIDTH), scale=scale, bias=bias, image_labels=labels,
        text_labels=text_labels,
    )  # fmt: skip


@pytest.mark.parametrize(("loss", "several"), LOSSES)
@pytest.mark.parametrize("num_groups", [1, 2, 3])
@pytest.mark.parametrize("num_ranks", [1, 2, 4])
@pytest.mark.parametrize("with_duplicates", [False, True])
def test_parts_of_all_ranks_are_the_reference(
    loss: LossName, several: SeveralCaptions, num_groups: int, num_ranks: int, with_duplicates: bool
) -> None:
    labels = duplicates(num_groups) if with_duplicates else None
    mine, theirs = features(num_groups), features(num_groups)
    pairs = pairs_of(*mine, labels)
    bounds = [round(COUNT * rank / num_ranks) for rank in range(num_ranks + 1)]
    parts = [loss_of_rows(pairs, slice(*pair), loss, several=several) for pair in pairwise(bounds)]
    total = torch.stack([sums.total for sums, _ in parts]).sum()
    wanted = reference(*theirs, loss, several, labels)
    torch.testing.assert_close(total, wanted, **EXACT)
    by_image = torch.cat([by_group for _, by_group in parts])
    assert by_image.shape == (COUNT, num_groups)
    torch.testing.assert_close(by_image.mean(dim=1).sum(), wanted.detach(), **EXACT)
    used = len(mine) if loss == "sigmoid" else 3
    torch.testing.assert_close(
        torch.autograd.grad(total, mine[:used]), torch.autograd.grad(wanted, theirs[:used]), **EXACT
    )


def test_duplicates_make_a_difference_to_the_reference() -> None:
    tensors = features(2)
    for loss, several in LOSSES:
        plain, masked = (reference(*tensors, loss, several, labels) for labels in (None, duplicates(2)))
        assert abs(plain - masked) > 1e-3


def test_a_caption_said_twice_has_the_loss_of_one_caption() -> None:
    images, texts, scale, bias = features(1)
    twice = torch.cat([texts, texts], dim=1)
    for loss, several in LOSSES:
        once = loss_of_rows(pairs_of(images, texts, scale, bias, None), slice(0, COUNT), loss, several=several)[0]
        both = loss_of_rows(pairs_of(images, twice, scale, bias, None), slice(0, COUNT), loss, several=several)[0]
        # Set against all texts, an image finds each of them twice: half of what it spreads goes to its own copy.
        extra = COUNT * math.log(2) / 2 if (loss, several) == LOSSES[0] else 0.0
        torch.testing.assert_close(both.total - once.total, torch.tensor(extra, dtype=torch.float64), **EXACT)


class LinearTask:
    """Contrast a linear view of rows with two others, in float64."""

    def __init__(self, loss: LossName, several: SeveralCaptions):
        self.loss, self.several = loss, several

    def count(self, batch: ToyBatch) -> int:
        return len(batch.rows)

    def features(self, model: nn.ModuleDict, batch: ToyBatch, step: int, generator: object) -> dict[str, Tensor]:
        images = normalize(model["image"](batch.rows), dim=-1)
        texts = normalize(torch.stack([model[name](batch.rows) for name in ("short", "long")], dim=1), dim=-1)
        scale, bias = model["scalars"].weight[0]
        return {"images": images, "texts": texts, "scale": scale.exp(), "bias": bias, "labels": batch.labels}

    def coupled_loss(self, features: dict[str, Tensor], step: int, mine: slice) -> LossSum:
        pairs = pairs_of(*(features[name] for name in ("images", "texts", "scale", "bias", "labels")))
        return loss_of_rows(pairs, mine, self.loss, several=self.several)[0]


class LabelledBatch(ToyBatch):
    labels: Tensor


def gradients_on_rank(
    rank: int, world_size: int, num_parts: int, loss: LossName, several: SeveralCaptions
) -> dict[str, Tensor]:
    from runtime.engine import Engine

    torch.manual_seed(5)
    count = 8
    rows = torch.randn(count, 6, dtype=torch.float64)
    labels = torch.arange(3 * count).reshape(count, 3)
    labels[6, 2] = labels[1, 1]
    model = nn.ModuleDict(
        {name: nn.Linear(6, WIDTH) for name in ("image", "short", "long")}
        | {"scalars": nn.Linear(2, 1, bias=False)}
    ).double()  # fmt: skip
    size = count // (world_size * num_parts)
    batches = []
    for part in range(num_parts):
        start = (rank * num_parts + part) * size
        batch = LabelledBatch(("k",) * size, rows[start : start + size], torch.zeros(size))
        object.__setattr__(batch, "labels", labels[start : start + size])
        batches.append(batch)
    task = LinearTask(loss, several)
    with patch("runtime.engine.set_storage_types"):  # which would round the weights to float32
        engine = Engine(task, model, loop_config(device="cpu", batch_size=count))
    compute_gradients(engine, task, batches, seed=0, step=0, batch_size=count)
    return {name: weight.grad for name, weight in model.named_parameters()}


@pytest.mark.parametrize(("loss", "several"), LOSSES)
@pytest.mark.parametrize("num_parts", [2, 8])
def test_cached_features_give_the_gradient_of_the_whole_batch(
    loss: LossName, several: SeveralCaptions, num_parts: int
) -> None:
    whole, parts = (gradients_on_rank(0, 1, count, loss, several) for count in (1, num_parts))
    assert whole["scalars.weight"].abs().sum() > 0
    torch.testing.assert_close(parts, whole, **EXACT)


@pytest.mark.slow
@pytest.mark.parametrize(("loss", "several"), LOSSES)
def test_two_gloo_ranks_have_the_gradient_of_one_process(loss: LossName, several: SeveralCaptions) -> None:
    """With microbatches, and with an image whose caption another rank's has too."""
    whole = gradients_on_rank(0, 1, 1, loss, several)
    for found in run_distributed(gradients_on_rank, 2, 2, 2, loss, several):
        torch.testing.assert_close(found, whole, **EXACT)


def two_captions(**changes: object) -> ImageTextBatch:
    first = batch_of(("original", "recaption", "original"))
    second = CaptionGroup(
        token_ids=torch.randint(0, 40, (3, 9)),
        token_lengths=torch.tensor([3, 8, 9]),
        truncated=torch.tensor([False, False, True]),
        sources=("recaption_random_sentence",) * 3,
        texts=("p", "q", "r"),
    )
    return replace(first, further=(second,), **changes)


def test_images_are_encoded_once_and_texts_are_each_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    preset, model, batch = MODELS["s_small"], tiny_model().eval(), two_captions()
    calls: list[int] = []
    real = model.encode_image

    def counted(images: Tensor) -> Tensor:
        calls.append(len(images))
        return real(images)

    monkeypatch.setattr(model, "encode_image", counted)
    task = ContrastiveTask(preset.image_mean, preset.image_std)
    found = task.features(model, batch, 0, torch.Generator())
    assert calls == [3] and found["texts"].shape == (3, 2, 128)
    group = batch.further[0]
    for place, (ids, lengths) in enumerate(
        [(batch.token_ids, batch.token_lengths), (group.token_ids, group.token_lengths)]
    ):
        alone = replace(batch, token_ids=ids, token_lengths=lengths, further=())
        expected = task.features(model, alone, 0, torch.Generator())["texts"]
        torch.testing.assert_close(found["texts"][:, place], expected)


def test_the_task_says_what_each_source_adds_and_leaves_equal_captions_out() -> None:
    preset, batch = MODELS["s_small"], two_captions()
    sources = ("original", "recaption", "recaption_random_sentence")
    shared = replace(batch.further[0], texts=("x", "q", "r"))  # the first image's own, and the third's first caption
    batch = replace(batch, texts=("w", "y", "x"), further=(shared,))
    task = ContrastiveTask(preset.image_mean, preset.image_std, duplicates_are_negatives=False, sources=sources)
    found = task.features(tiny_model(), batch, 0, torch.Generator())
    sums = task.coupled_loss(found, 0, slice(0, 3))
    labels = torch.tensor([[1, 11, 12], [2, 13, 14], [3, 12, 15]])
    wide = (found[name].double() for name in ("images", "texts", "logit_scale"))
    wanted = reference(*wide, torch.zeros(()), "softmax", "multi_positive", labels)
    assert sums.total.item() == pytest.approx(wanted.item(), rel=1e-5)
    shares = {name: (value.item(), int(count)) for name, (value, count) in sums.shares.items()}
    assert [shares[f"share/{source}"] for source in sources] == [(2.0, 6), (1.0, 6), (3.0, 6)]
    assert shares["tokens/recaption_random_sentence"] == (20.0, 3)
    assert shares["truncated/recaption_random_sentence"] == (1.0, 3)
    by_source = sum(shares[f"loss/{source}"][0] for source in sources)
    assert by_source / 2 == pytest.approx(wanted.item(), rel=1e-5)


def test_the_cost_counts_every_caption() -> None:
    from clip_train.architecture import model_config

    cost = ClipCost(model_config(MODELS["s_small"], image_size_px=32, vocab_size=40, context_length=9))
    batch = two_captions()
    alone = cost.workload(replace(batch, further=()))
    both = cost.workload(batch)
    assert both["images"] == alone["images"] == 3
    assert both["tokens"] - alone["tokens"] == 3 + 8 + 9
    assert both["flops"] - alone["flops"] == 3 * sum(cost.text_flops(length) for length in (3, 8, 9))
