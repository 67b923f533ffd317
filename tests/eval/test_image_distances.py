"""Distances between sets of pictures: closed forms, torch-fidelity's own functions, and intervals that cover."""

import numpy as np
import pytest
import torch

from eval.bootstrap import item_interval
from eval.frechet import frechet_distance
from eval.image_sets.floor import frechet_floor
from eval.image_sets.influence import frechet_interval, influences
from eval.image_sets.kernel_distance import kernel_distance, squared_discrepancy
from eval.image_sets.neighbours import within_reach
from eval.outcomes import Cloud

fidelity = pytest.importorskip("torch_fidelity")


def cloud(seed: int, count: int, width: int = 6, shift: float = 0.0, scale: float = 1.0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(width, width)) / width**0.5
    return shift + scale * generator.normal(size=(count, width)) @ mixing


def test_the_distance_is_torch_fidelitys() -> None:
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    first, second = cloud(0, 400), cloud(1, 300, shift=0.3, scale=1.5)
    theirs = fid_statistics_to_metric(
        *(fid_features_to_statistics(torch.from_numpy(each)) for each in (first, second)), False
    )
    assert frechet_distance(first, second) == pytest.approx(theirs["frechet_inception_distance"], rel=1e-9)


def test_one_blocks_discrepancy_is_torch_fidelitys() -> None:
    from torch_fidelity.metric_kid import kernel_mmd

    first, second = cloud(0, 60), cloud(1, 60, shift=0.3)
    theirs = kernel_mmd(first, second, kid_kernel="poly", kid_kernel_poly_degree=3, kid_kernel_poly_gamma=None,
                        kid_kernel_poly_coef0=1.0)  # fmt: skip
    assert squared_discrepancy(first, second) == pytest.approx(float(theirs), rel=1e-9)


def test_precision_and_recall_are_torch_fidelitys() -> None:
    from torch_fidelity.metric_prc import calculate_precision_recall_full

    drawn, true = cloud(0, 700, width=4, scale=0.7), cloud(1, 600, width=4)
    precision, recall = calculate_precision_recall_full(torch.from_numpy(drawn), torch.from_numpy(true), 3)
    assert within_reach(drawn, true).mean() == pytest.approx(precision)
    assert within_reach(true, drawn).mean() == pytest.approx(recall)
    assert recall < precision, "pictures that are too alike"


def test_the_interval_of_a_distance_is_the_bootstraps() -> None:
    features, reference = cloud(0, 1500, shift=0.2, scale=1.3), cloud(1, 2000)
    by_draws = item_interval(Cloud(np.arange(1500), features, reference), replicates=400)
    found = frechet_interval(features, reference)
    assert found.value == by_draws.value
    assert found.high - found.low == pytest.approx(by_draws.high - by_draws.low, rel=0.15)


def test_influences_are_derivatives() -> None:
    features, reference = cloud(0, 300, shift=0.2), cloud(1, 400)
    moved = influences(features, reference)
    # Weighing one picture double moves the distance by its influence over the number of pictures.
    doubled = np.concatenate([features] * 50 + [features[7:8]])
    change = frechet_distance(doubled, reference) - frechet_distance(np.concatenate([features] * 50), reference)
    assert change * 300 * 50 == pytest.approx(moved[7], rel=0.01)


def test_intervals_cover_what_a_large_sample_shows() -> None:
    reference = cloud(1, 5000, width=3)
    truth = frechet_distance(cloud(0, 200_000, width=3, shift=0.3, scale=1.2), reference)
    found = [frechet_interval(cloud(seed, 400, width=3, shift=0.3, scale=1.2), reference) for seed in range(2, 202)]
    covered = np.mean([each.low <= truth <= each.high for each in found])
    # 200 trials of 95 %: two standard errors are 3 points; the bias of 400 pictures takes a little.
    assert 0.9 <= covered <= 0.99
    kernels = [
        kernel_distance(cloud(seed, 400, width=3, shift=0.3), cloud(seed + 1000, 400, width=3), 20)
        for seed in range(200)
    ]
    truth = squared_discrepancy(cloud(5000, 4000, width=3, shift=0.3), cloud(5001, 4000, width=3))
    assert 0.91 <= np.mean([each.low <= truth <= each.high for each in kernels]) <= 0.99


def test_the_floor_of_equal_directions_is_the_known_one() -> None:
    width, count = 32, 2000
    drawn = np.random.default_rng(0).normal(size=(count, width))
    axes, _ = np.linalg.qr(drawn - drawn.mean(axis=0))
    floor = frechet_floor(axes * (count - 1) ** 0.5, count, draws=50)
    assert count * floor.mean() == pytest.approx(width**2 / 2 + 2.5 * width, rel=0.03)


def test_few_pictures_have_an_open_interval() -> None:
    found = frechet_interval(cloud(0, 6), cloud(1, 100))
    assert found.value > 0 and np.isnan(found.low) and np.isnan(found.high)
    assert np.isnan(kernel_distance(cloud(0, 7), cloud(1, 100)).value)
