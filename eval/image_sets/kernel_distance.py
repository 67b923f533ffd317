"""The kernel distance between two clouds of features: unbiased, and without a Gaussian in it.

MMD^2 with the kernel (x.y / width + 1)^3 (Binkowski et al. 2018, arXiv 1801.01401, eq. 4, where it is called KID on
Inception's features). It is estimated in blocks that share no picture, so that the blocks' spread is its error (the
B-test of Zaremba et al. 2013); the usual random subsets overlap, and their spread says nothing of the kind.
"""

import numpy as np
from jaxtyping import Float

from runtime.intervals import Interval, mean_interval
from runtime.seeds import numpy_generator

BLOCK_SIZE = 1000
BLOCKS_MIN = 4


def kernel_distance(
    features: Float[np.ndarray, "pictures width"],
    reference: Float[np.ndarray, "others width"],
    block_size: int = BLOCK_SIZE,
) -> Interval:
    """Return MMD^2 as the mean over blocks of `block_size` pictures from each side; fewer where there are not four."""
    smaller = min(len(features), len(reference))
    size = min(block_size, smaller // BLOCKS_MIN)
    if size < 2:
        return Interval(float("nan"), float("nan"), float("nan"))
    generator = numpy_generator(0, "kernel distance")
    orders = generator.permutation(len(features)), generator.permutation(len(reference))
    blocks = [
        squared_discrepancy(features[orders[0][start : start + size]], reference[orders[1][start : start + size]])
        for start in range(0, smaller - size + 1, size)
    ]
    return mean_interval(np.array(blocks))


def squared_discrepancy(first: Float[np.ndarray, "items width"], second: Float[np.ndarray, "items width"]) -> float:
    """Return the unbiased MMD^2 of two blocks of one size; it may lie below zero."""
    within = _off_diagonal_mean(_kernel(first, first)) + _off_diagonal_mean(_kernel(second, second))
    return within - 2.0 * float(_kernel(first, second).mean())


def _kernel(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.asarray((first @ second.T / first.shape[1] + 1.0) ** 3)


def _off_diagonal_mean(kernel: np.ndarray) -> float:
    count = len(kernel)
    return float(kernel.sum() - np.trace(kernel)) / (count * (count - 1))
