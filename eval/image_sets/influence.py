"""How surely a Frechet distance is known, without drawing again: the delta method.

With T = S2^(1/2) (S2^(1/2) S1 S2^(1/2))^(-1/2) S2^(1/2), the optimal transport map between the Gaussians (Dowson and
Landau 1982, J. Multivariate Anal. 12:450), one picture x moves the distance by
2 (m1 - m2)^T (x - m1) + (x - m1)^T (I - T) (x - m1) - Tr((I - T) S1). A bootstrap of 2048 features would take a matrix
root for each of its draws.
"""

from statistics import NormalDist

import numpy as np
from jaxtyping import Float

from eval.frechet import frechet_distance, moments
from runtime.intervals import COVERAGE, Interval


def frechet_interval(
    features: Float[np.ndarray, "pictures width"], reference: Float[np.ndarray, "others width"]
) -> Interval:
    """Return the distance with its interval over the pictures, the reference held fixed.

    The interval is open where pictures are no more than features: their covariance has no inverse then. What finite
    numbers add to the distance itself is no error of this kind (`eval.image_sets.floor`).
    """
    distance = frechet_distance(features, reference)
    if len(features) <= features.shape[1]:
        return Interval(distance, float("nan"), float("nan"))
    moved = influences(features, reference)
    margin = NormalDist().inv_cdf((1 + COVERAGE) / 2) * float(moved.std(ddof=1)) / len(features) ** 0.5
    return Interval(distance, distance - margin, distance + margin)


def influences(
    features: Float[np.ndarray, "pictures width"], reference: Float[np.ndarray, "others width"]
) -> Float[np.ndarray, " pictures"]:
    """Return by how much each picture moves the distance, times the number of pictures."""
    first, second = moments(features), moments(reference)
    values, vectors = np.linalg.eigh(second.covariance)
    root = (vectors * np.sqrt(np.clip(values, 0.0, None))) @ vectors.T
    inner, axes = np.linalg.eigh(root @ first.covariance @ root)
    # Directions in which one of the clouds has no width move neither way.
    kept = inner > inner[-1] * len(inner) * np.finfo(np.float64).eps
    transport = root @ (axes[:, kept] / np.sqrt(inner[kept])) @ axes[:, kept].T @ root
    bend = np.eye(len(transport)) - transport
    centred = features - first.mean
    quadratic = np.einsum("ij,jk,ik->i", centred, bend, centred, optimize=True)
    linear = 2.0 * centred @ (first.mean - second.mean)
    return np.asarray(linear + quadratic - quadratic.mean())
