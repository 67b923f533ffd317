"""Precision and recall of a cloud of features (Kynkaanniemi et al. 2019, arXiv 1904.06991).

A cloud's reach is the union of balls around its items, each as wide as the distance to the k-th nearest other item.
Precision: the share of drawn pictures within the true ones' reach. Recall: the share of true ones within the drawn.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial.distance import cdist

NEIGHBOURS = 3
_ROWS = 512
"""Items whose distances to all others are held at a time."""


def within_reach(
    items: Float[np.ndarray, "items width"], cloud: Float[np.ndarray, "others width"], neighbours: int = NEIGHBOURS
) -> Bool[np.ndarray, " items"]:
    """Tell which items lie within the reach of a cloud of more than `neighbours` items."""
    radii = np.concatenate([np.partition(rows, neighbours, axis=1)[:, neighbours] for rows in _distances(cloud, cloud)])
    return np.concatenate([(rows <= radii).any(axis=1) for rows in _distances(items, cloud)])


def _distances(items: np.ndarray, cloud: np.ndarray) -> Iterator[np.ndarray]:

    for start in range(0, len(items), _ROWS):
        yield cdist(items[start : start + _ROWS], cloud)
