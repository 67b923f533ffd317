"""The Frechet distance between two clouds of features, computed by two formulas that must agree.

d^2 = |m1 - m2|^2 + Tr(S1 + S2 - 2 (S1 S2)^(1/2)), the distance between the Gaussians fitted to the clouds
(Heusel et al. 2017, arXiv 1706.08500). Its name carries the feature extractor: only Inception's 2048 features of 2015
give what the literature calls FID.
"""

from dataclasses import dataclass

import numpy as np

AGREEMENT = 1e-4
"""Largest relative difference allowed between the formulas; float64 drift on rank-deficient clouds stays below 2e-5."""
AGREEMENT_OF_SPREAD = 1e-6
"""Difference allowed besides, as a share of both clouds' total variance: near-equal clouds cancel to rounding error."""


@dataclass(frozen=True)
class Moments:
    """Mean (width) and covariance (width, width) of a cloud."""

    mean: np.ndarray
    covariance: np.ndarray


def moments(features: np.ndarray, weights: np.ndarray | None = None) -> Moments:
    """Fit a Gaussian to features (items, width); `weights` counts how often each item occurs."""
    weights = np.ones(len(features)) if weights is None else weights
    total = weights.sum()
    mean = weights @ features / total
    centred = features - mean
    covariance = (centred * weights[:, None]).T @ centred / (total - 1)
    return Moments(mean, covariance)


def frechet_from_moments(first: Moments, second: Moments) -> float:
    """Compute the distance from moments by symmetric eigenvalues: Tr (S1 S2)^1/2 = sum sqrt eig(S1^1/2 S2 S1^1/2)."""
    root = _symmetric_root(first.covariance)
    eigenvalues = np.linalg.eigvalsh(root @ second.covariance @ root)
    cross = float(np.sqrt(np.clip(eigenvalues, 0.0, None)).sum())
    return _combine(first, second, cross)


def frechet_from_features(first: np.ndarray, second: np.ndarray) -> float:
    """Compute the distance without a matrix root: Tr (S1 S2)^1/2 = |X Y^T|_nuclear / sqrt((n-1)(m-1)), X, Y centred."""
    centred_first = first - first.mean(axis=0)
    centred_second = second - second.mean(axis=0)
    nuclear_norm = np.linalg.svd(_triangle(centred_first) @ _triangle(centred_second).T, compute_uv=False).sum()
    cross = float(nuclear_norm) / float(np.sqrt((len(first) - 1) * (len(second) - 1)))
    return _combine(moments(first), moments(second), cross)


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Compute the distance between two clouds (items, width); refuse a result on which the two formulas disagree."""
    gaussians = moments(first), moments(second)
    by_moments = frechet_from_moments(*gaussians)
    by_features = frechet_from_features(first, second)
    spread = sum(float(np.trace(gaussian.covariance)) for gaussian in gaussians)
    allowed = AGREEMENT * max(abs(by_moments), abs(by_features)) + AGREEMENT_OF_SPREAD * spread
    if abs(by_moments - by_features) > allowed:
        raise FloatingPointError(f"Frechet distance: the two formulas give {by_moments} and {by_features}")
    return by_moments


def resampled_distances(features: np.ndarray, reference: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Compute the distance of each bootstrap draw (draws, items) of features to the reference cloud.

    The reference's matrix root, the same for all draws, is taken once.
    """
    target = moments(reference)
    root = _symmetric_root(target.covariance)
    distances = np.empty(len(draws))
    for index, draw in enumerate(draws):
        drawn = moments(features, weights=draw)
        eigenvalues = np.linalg.eigvalsh(root @ drawn.covariance @ root)
        distances[index] = _combine(drawn, target, float(np.sqrt(np.clip(eigenvalues, 0.0, None)).sum()))
    return distances


def _symmetric_root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.clip(values, 0.0, None))) @ vectors.T


def _triangle(matrix: np.ndarray) -> np.ndarray:
    """Return R of the QR decomposition, which has the nuclear norms of the matrix at a small size."""
    return np.asarray(np.linalg.qr(matrix, mode="r"))


def _combine(first: Moments, second: Moments, cross: float) -> float:
    offset = first.mean - second.mean
    return float(offset @ offset + np.trace(first.covariance) + np.trace(second.covariance) - 2.0 * cross)
