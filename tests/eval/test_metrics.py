"""Retrieval, zero-shot, swap and Frechet formulas against brute force, clip_benchmark and closed forms."""

import math
from itertools import permutations

import numpy as np
import pytest
import torch
from clip_benchmark.metrics.zeroshot_retrieval import recall_at_k
from hypothesis import given, settings
from hypothesis import strategies as st

from eval import frechet
from eval.retrieval import expected_hits, tied_with_negatives
from eval.zeroshot import class_weights, classification_hits, normalise, swap_points


def brute_force(scores: np.ndarray, positives: np.ndarray, k: int) -> np.ndarray:
    """Average hits over every order of the candidates, sorted stably by score."""
    hits = np.zeros(len(scores))
    orders = list(permutations(range(scores.shape[1])))
    for order in orders:
        columns = list(order)
        ranked = np.argsort(-scores[:, columns], axis=1, kind="stable")[:, :k]
        hits += np.take_along_axis(positives[:, columns], ranked, axis=1).any(axis=1)
    return hits / len(orders)


@given(st.integers(0, 10_000), st.integers(1, 5))
@settings(max_examples=25, deadline=None)
def test_expected_hits_equal_the_average_over_all_orders_of_ties(seed: int, k: int) -> None:
    generator = np.random.default_rng(seed)
    scores = generator.integers(0, 3, size=(4, 5)).astype(float)
    positives = generator.random((4, 5)) < 0.4
    positives[:, 0] |= ~positives.any(axis=1)
    np.testing.assert_allclose(expected_hits(scores, positives, k), brute_force(scores, positives, k), atol=1e-12)


@pytest.mark.parametrize("k", [1, 5, 10])
def test_recall_equals_clip_benchmark_without_ties_and_brackets_it_with_ties(k: int) -> None:
    generator = np.random.default_rng(k)
    images = normalise(generator.normal(size=(40, 8)))
    texts = normalise(np.repeat(images, 5, axis=0) + 0.6 * generator.normal(size=(200, 8)))
    positives = np.arange(200)[:, None] // 5 == np.arange(40)[None, :]
    scores = texts @ images.T
    assert not tied_with_negatives(scores, positives).any()
    for matrix, mask in ((scores, positives), (scores.T, positives.T)):
        theirs = (recall_at_k(torch.tensor(matrix), torch.tensor(mask), k) > 0).float().numpy()
        np.testing.assert_array_equal(expected_hits(matrix, mask, k), theirs)
        coarse = np.round(matrix, 1)
        tied = (recall_at_k(torch.tensor(coarse), torch.tensor(mask), k) > 0).float().numpy()
        ours = expected_hits(coarse, mask, k)
        assert np.all((ours > 0) | (tied == 0)) and np.all((ours < 1) | (tied == 1))


def test_a_constant_model_scores_what_guessing_scores() -> None:
    scores, positives = np.zeros((50, 50)), np.eye(50, dtype=bool)
    np.testing.assert_allclose(expected_hits(scores, positives, 5), 5 / 50)
    assert tied_with_negatives(scores, positives).all()
    five = np.arange(50)[None, :] // 5 == np.arange(10)[:, None]
    np.testing.assert_allclose(expected_hits(np.zeros((10, 50)), five, 1), 5 / 50)
    ones = np.ones((6, 4))
    np.testing.assert_array_equal(swap_points(ones, ones, ones), 0.5)
    labels = np.array([0, 1, 2])
    np.testing.assert_allclose(classification_hits(ones[:3], np.ones((4, 4)), labels), 0.25)


def test_swap_gives_a_point_to_the_true_text_and_none_to_the_false_one() -> None:
    images = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    true_texts = np.array([[0.9, 0.1], [0.1, 0.9], [0.5, 0.3]])
    false_texts = np.array([[0.1, 0.9], [0.9, 0.1], [0.5, 0.9]])
    np.testing.assert_array_equal(swap_points(images, true_texts, false_texts), [1.0, 0.0, 0.5])


def test_class_weights_average_normalised_prompts_and_renormalise() -> None:
    table = {"a cat": [2.0, 0.0], "the cat": [0.0, 7.0], "a dog": [1.0, 0.0], "the dog": [1.0, 0.0]}
    weights = class_weights(
        lambda texts: np.array([table[text] for text in texts]), ["cat", "dog"], ["a {c}", "the {c}"]
    )
    np.testing.assert_allclose(weights, [[math.sqrt(0.5), math.sqrt(0.5)], [1.0, 0.0]])


def test_frechet_distance_has_its_closed_form_from_exact_moments() -> None:
    first = frechet.Moments(np.zeros(64), np.eye(64))
    second = frechet.Moments(np.full(64, 0.3), 4.0 * np.eye(64))
    assert frechet.frechet_from_moments(first, second) == pytest.approx(69.76, abs=1e-9)


@pytest.mark.parametrize("count", [20, 500])
def test_both_frechet_formulas_agree_also_on_rank_deficient_clouds(count: int) -> None:
    generator = np.random.default_rng(0)
    first = generator.normal(size=(count, 32)) @ generator.normal(size=(32, 32))
    second = generator.normal(size=(count, 32)) + 0.5
    by_features = frechet.frechet_from_features(first, second)
    assert frechet.frechet_distance(first, second) == pytest.approx(by_features, rel=1e-4)


def test_frechet_floor_of_two_samples_of_one_gaussian() -> None:
    """N FD is about d^2 / 2 + 2.5 d for two iid samples of N (measured by the literature's study: 594.6 at d = 32)."""
    generator = np.random.default_rng(1)

    def sample() -> frechet.Moments:
        return frechet.moments(generator.normal(size=(2000, 32)))

    values = [frechet.frechet_from_moments(sample(), sample()) for _ in range(8)]
    assert 2000 * np.mean(values) == pytest.approx(32**2 / 2 + 2.5 * 32, rel=0.05)


def test_weights_count_repeated_items() -> None:
    features = np.random.default_rng(2).normal(size=(6, 3))
    counts = np.array([2, 0, 1, 3, 1, 1])
    by_weight = frechet.moments(features, weights=counts)
    by_repetition = frechet.moments(np.repeat(features, counts, axis=0))
    np.testing.assert_allclose(by_weight.covariance, by_repetition.covariance)
    np.testing.assert_allclose(by_weight.mean, by_repetition.mean)


def test_formulas_that_disagree_are_refused(monkeypatch) -> None:
    monkeypatch.setattr(frechet, "frechet_from_features", lambda first, second: 1.0)
    with pytest.raises(FloatingPointError, match="two formulas give"):
        frechet.frechet_distance(np.eye(8), np.eye(8))


def test_equal_clouds_lie_at_no_distance() -> None:
    features = np.random.default_rng(3).normal(size=(6, 64)) * 1e-4
    assert frechet.frechet_distance(features, features) == pytest.approx(0.0, abs=1e-12)
