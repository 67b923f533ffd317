"""Scores against CLIP_benchmark's own functions and hand-written cases; a constant model in both ways of counting."""

import numpy as np
import pytest
import torch
from clip_benchmark.metrics import image_caption_selection, zeroshot_classification, zeroshot_retrieval

from eval.encoding import Embedded
from eval.outcomes import macro_mean
from eval.scoring import (
    choice_points,
    first_as_clip_benchmark,
    float32_scores,
    match_pairs,
    search,
    search_as_clip_benchmark,
)

WIDTH = 6
NUM_IMAGES = 23


def embedded(each: np.ndarray) -> Embedded:
    rows, index = np.unique(each, axis=0, return_inverse=True)
    return Embedded(rows=rows.astype(np.float64), index=index)


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


class Planted:
    """A model whose images and texts are row numbers of given features."""

    def __init__(self, images: np.ndarray, texts: np.ndarray) -> None:
        self.images, self.texts = torch.from_numpy(images), torch.from_numpy(texts)

    def encode_image(self, numbers: torch.Tensor) -> torch.Tensor:
        return self.images[numbers.reshape(-1)]

    def encode_text(self, numbers: torch.Tensor) -> torch.Tensor:
        return self.texts[numbers]


def planted(seed: int, *, ties: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return images, texts and the texts' owners; with ties, some of either are the same as others."""
    generator = np.random.default_rng(seed)
    owner = np.sort(np.concatenate([np.arange(NUM_IMAGES), generator.integers(0, NUM_IMAGES, 40)]))
    images, texts = (unit(generator.normal(size=(count, WIDTH))) for count in (NUM_IMAGES, len(owner)))
    texts = unit(texts + 0.7 * images[owner])
    if ties:
        images[5], images[11] = images[2], images[2]
        texts[generator.integers(0, len(owner), 15)] = texts[7]
    return images, texts, owner


def theirs(images: np.ndarray, texts: np.ndarray, owner: np.ndarray, ks: list[int]) -> dict[str, float]:
    """Run CLIP_benchmark's own evaluation on planted features, in batches of seven."""
    of_image = [[str(text) for text in np.flatnonzero(owner == image)] for image in range(len(images))]
    batches = [
        (torch.arange(start, min(start + 7, len(images))).reshape(-1, 1), of_image[start : start + 7])
        for start in range(0, len(images), 7)
    ]
    return zeroshot_retrieval.evaluate(
        Planted(images, texts), batches, lambda names: torch.tensor([int(n) for n in names]), "cpu", False, ks
    )


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_retrieval_as_clip_benchmark_equals_its_own(seed: int, ties: bool) -> None:
    images, texts, owner = planted(seed, ties=ties)
    expected = theirs(images, texts, owner, [1, 5, 10])
    scores, of_picture = float32_scores(embedded(texts), embedded(images)), np.arange(NUM_IMAGES)
    for k in (1, 5, 10):
        by_text = search_as_clip_benchmark(scores, owner, of_picture, k)
        by_image = search_as_clip_benchmark(scores.T, of_picture, owner, k)
        assert by_text.mean() == pytest.approx(expected[f"image_retrieval_recall@{k}"], abs=1e-7)
        assert by_image.mean() == pytest.approx(expected[f"text_retrieval_recall@{k}"], abs=1e-7)


@pytest.mark.parametrize("seed", range(5))
def test_without_ties_our_own_count_is_theirs_too_and_ties_are_counted(seed: int) -> None:
    of_picture = np.arange(NUM_IMAGES)
    for ties in (False, True):
        images, texts, owner = planted(seed, ties=ties)
        found = search(embedded(texts), embedded(images), owner, of_picture, (1, 5))
        back = search(embedded(images), embedded(texts), of_picture, owner, (1, 5))
        assert (found.tied.any(), back.tied.any()) == (ties, ties)
        if not ties:
            expected = theirs(images, texts, owner, [1, 5])
            for k in (1, 5):
                assert found.at[k].mean() == pytest.approx(expected[f"image_retrieval_recall@{k}"], abs=1e-7)
                assert back.at[k].mean() == pytest.approx(expected[f"text_retrieval_recall@{k}"], abs=1e-7)


def test_tied_captions_share_their_chance() -> None:
    """Two images; both captions of the first equal the one of the second."""
    images = np.array([[1.0, 0.0], [0.0, 1.0]])
    texts = np.array([[0.6, 0.8]] * 3)
    back = search(embedded(images), embedded(texts), np.arange(2), np.array([0, 0, 1]), (1, 2))
    # One of three equal captions is drawn: twice as likely the first image's.
    assert back.at[1].tolist() == pytest.approx([2 / 3, 1 / 3]) and back.at[2].tolist() == pytest.approx([1.0, 2 / 3])
    found = search(embedded(texts), embedded(images), np.array([0, 0, 1]), np.arange(2), (1,))
    assert found.at[1].tolist() == [0.0, 0.0, 1.0]


class Classes:
    """What CLIP_benchmark asks of a data loader."""

    def __init__(self, labels: np.ndarray, classes: list[str]) -> None:
        self.dataset = type("Dataset", (), {"classes": classes})()
        self._labels = torch.from_numpy(labels)

    def __iter__(self):
        yield torch.arange(len(self._labels)).reshape(-1, 1), self._labels


def test_classification_equals_clip_benchmarks_on_planted_ties() -> None:
    images, texts, _ = planted(3, ties=True)
    texts[1] = texts[0]
    classes = [str(number) for number in range(8)]
    labels = np.arange(NUM_IMAGES) % len(classes)
    expected = zeroshot_classification.evaluate(
        Planted(images, texts),
        Classes(labels, classes),
        lambda names: torch.tensor([int(name) for name in names]),
        classes,
        ["{c}"],
        "cpu",
        False,
    )
    scores = 100.0 * float32_scores(embedded(images), embedded(texts[:8]))
    hits = {k: search_as_clip_benchmark(scores, labels, np.arange(8), k, among=5) for k in (1, 5)}
    assert hits[1].mean() == pytest.approx(expected["acc1"]) and hits[5].mean() == pytest.approx(expected["acc5"])
    # Its recall counts by argmax, whose order of ties is not topk's.
    first = first_as_clip_benchmark(scores, labels)
    recall = macro_mean([f"{n:02}" for n in range(NUM_IMAGES)], first, [classes[label] for label in labels])
    assert recall.value == pytest.approx(expected["mean_per_class_recall"])


PICTURES = embedded(np.array([[1.0, 0.0]] * 3))
TRUE = embedded(np.array([[0.8, 0.6], [0.6, 0.8], [0.6, 0.8]]))
FALSE = embedded(np.array([[0.6, 0.8], [0.8, 0.6], [0.6, 0.8]]))


@pytest.mark.parametrize(("tie", "expected"), [(0.0, [1, 0, 0]), (1.0, [1, 0, 1]), (0.5, [1, 0, 0.5])])
def test_a_choice_is_right_wrong_or_a_tie(tie: float, expected: list[float]) -> None:
    points, tied = choice_points(PICTURES, TRUE, FALSE, tie)
    assert points.tolist() == expected and tied.tolist() == [False, False, True]


def test_a_constant_model_is_all_right_in_one_harness_and_all_wrong_in_the_other() -> None:
    same = embedded(np.full((4, 2), np.sqrt(0.5)))
    assert choice_points(same, same, same, 0.0)[0].mean() == 0.0
    assert choice_points(same, same, same, 1.0)[0].mean() == 1.0
    batches = [(torch.arange(4).reshape(4, 1, 1, 1, 1), [["0", "1"]] * 4)]
    constant = Constant()
    expected = image_caption_selection.evaluate(constant, batches, lambda names: torch.zeros(len(names)), "cpu", False)
    assert expected == {"image_acc": 1.0, "text_acc": 1.0, "acc": 1.0}


class Constant:
    """Everything looks alike."""

    def encode_image(self, images: torch.Tensor) -> torch.Tensor:
        return torch.ones(len(images), 2)

    def encode_text(self, texts: torch.Tensor) -> torch.Tensor:
        return torch.ones(len(texts), 2)


# Scores of pictures (rows) and texts (columns), then text and image right, as published and as CLIP_benchmark counts.
WINOGROUND = [
    ([[0.7, 0.1], [0.2, 0.6]], (1, 1), (1, 1)),
    ([[0.5, 0.6], [0.1, 0.7]], (0, 1), (0, 1)),
    ([[0.5, 0.1], [0.6, 0.7]], (1, 0), (1, 0)),
    ([[0.5, 0.5], [0.1, 0.7]], (0, 1), (1, 1)),
    ([[0.7, 0.1], [0.5, 0.5]], (0, 1), (0, 1)),
    ([[0.5, 0.1], [0.5, 0.7]], (1, 0), (1, 1)),
    ([[0.5, 0.5], [0.5, 0.5]], (0, 0), (0, 0)),
]


@pytest.mark.parametrize(("scores", "official", "as_theirs"), WINOGROUND)
def test_winoground_by_hand_and_by_clip_benchmark(
    scores: list[list[float]], official: tuple[int, int], as_theirs: tuple[int, int]
) -> None:
    images, rest = np.eye(2, 3), 1.0 - np.square(scores).sum(axis=0)
    texts = np.column_stack([np.array(scores).T, np.sqrt(rest)])
    ours, likewise = (match_pairs(embedded(images), embedded(texts), first_wins=first) for first in (False, True))
    assert (ours.text[0], ours.image[0]) == official
    assert (likewise.text[0], likewise.image[0]) == as_theirs
    assert bool(ours.tied[0]) == (len({*scores[0]} & {*scores[1]}) > 0 or any(len({*row}) < 2 for row in scores))
    expected = image_caption_selection.evaluate(
        Planted(images.astype(np.float32), texts.astype(np.float32)),
        [(torch.arange(2).reshape(1, 2, 1, 1, 1), [["0", "1"]])],
        lambda names: torch.tensor([int(name) for name in names]),
        "cpu",
        False,
    )
    assert (expected["text_acc"], expected["image_acc"]) == as_theirs


def test_a_macro_mean_leaves_small_groups_out_and_counts_groups_alike() -> None:
    points = np.array([1.0, 1.0, 0.0, 1.0, 0.0])
    groups = ["a", "a", "b", "b", "c"]
    macro = macro_mean(list("vwxyz"), points, groups, min_cases=2)
    assert macro.value == pytest.approx((1.0 + 0.5) / 2) and macro.count == 4
    # A draw without any of group b counts group a alone.
    assert macro.replicates(np.array([[2.0, 2.0, 0.0, 0.0]])).tolist() == [1.0]
