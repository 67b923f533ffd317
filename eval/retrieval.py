"""Retrieval recall at k with ties decided by expectation, not by memory order.

Definitions follow CLIP_benchmark's `zeroshot_retrieval`: text-to-image recall ("image_retrieval_recall@k") is the share
of texts whose image is among the k best images; image-to-text recall ("text_retrieval_recall@k") is the share of images
with at least one of their captions among the k best texts. Where scores tie across rank k the result is the chance of
success under a random order of the tied candidates, so a constant model scores exactly what guessing scores.
"""

from math import comb

import numpy as np
from jaxtyping import Bool, Float

TIE_POLICY = "ties=expected under random order"


def expected_hits(
    scores: Float[np.ndarray, "query candidate"], positives: Bool[np.ndarray, "query candidate"], k: int
) -> Float[np.ndarray, " query"]:
    """Compute for each query the chance that a positive is among its k best candidates.

    Let g candidates beat the best positive and t tie with it, m of them positive: the chance is
    1 - C(t - m, s) / C(t, s) with s = k - g places left, 0 when none is left, 1 when all t fit.
    """
    best = np.where(positives, scores, -np.inf).max(axis=1, keepdims=True)
    num_better = (scores > best).sum(axis=1)
    tied = scores == best
    num_tied, num_tied_positive = tied.sum(axis=1), (tied & positives).sum(axis=1)
    places = k - num_better
    hits = np.where(places > 0, 1.0, 0.0)
    for row in np.flatnonzero((places > 0) & (num_tied > num_tied_positive)):
        hits[row] = _chance(int(num_tied[row]), int(num_tied_positive[row]), int(places[row]))
    return hits


def tied_with_negatives(
    scores: Float[np.ndarray, "query candidate"], positives: Bool[np.ndarray, "query candidate"]
) -> Bool[np.ndarray, " query"]:
    """Tell in which queries the best positive ties with a negative: there the tie policy matters."""
    best = np.where(positives, scores, -np.inf).max(axis=1, keepdims=True)
    return ((scores == best) & ~positives).any(axis=1)


def _chance(num_tied: int, num_positive: int, places: int) -> float:
    if places >= num_tied:
        return 1.0
    return 1.0 - comb(num_tied - num_positive, places) / comb(num_tied, places)
