"""Estimates with their 95 % intervals, from sums over sampled items."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from jaxtyping import Float

COVERAGE = 0.95


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval."""

    value: float
    low: float
    high: float


def ratio_interval(scores: Float[np.ndarray, " items"], weights: Float[np.ndarray, " items"]) -> Interval:
    """Return sum(scores) / sum(weights) over sampled items; NaN without weight, an open interval for a single item.

    Linearised (Cochran, Sampling Techniques, 3rd ed., eq. 2.46): the error of a ratio is that of the mean of
    scores - ratio * weights, here with Student's t for few items.
    """
    from scipy.stats import t

    total, count = float(weights.sum()), len(scores)
    if total <= 0:
        return Interval(float("nan"), float("nan"), float("nan"))
    value = float(scores.sum()) / total
    if count == 1:
        return Interval(value, float("-inf"), float("inf"))
    residuals = scores - value * weights
    error = float(np.sqrt(count / (count - 1) * (residuals**2).sum())) / total
    margin = float(t.ppf((1.0 + COVERAGE) / 2.0, count - 1)) * error
    return Interval(value, value - margin, value + margin)


def mean_interval(values: Float[np.ndarray, " items"]) -> Interval:
    """Return the mean of sampled items."""
    return ratio_interval(values, np.ones(len(values)))


def share_of_items(parts: Float[np.ndarray, " items"], wholes: Float[np.ndarray, " items"]) -> Interval:
    """Return sum(parts) / sum(wholes) where parts are of wholes (wrong claims of claims), within [0, 1].

    As `ratio_interval`; a share of 0 or 1, which shows no spread, gets Wilson's interval over the items.
    """
    found = ratio_interval(parts, wholes)
    if found.value in (0.0, 1.0):
        num_items = int((wholes > 0).sum())
        return share_interval(round(found.value) * num_items, num_items)
    return Interval(found.value, max(0.0, found.low), min(1.0, found.high))


def share_interval(count: int, total: int) -> Interval:
    """Return count / total of independent trials, with Wilson's interval, which is never empty; NaN without trials."""
    if total <= 0:
        return Interval(float("nan"), float("nan"), float("nan"))
    z, share = NormalDist().inv_cdf((1.0 + COVERAGE) / 2.0), count / total
    middle = (share + z**2 / (2 * total)) / (1 + z**2 / total)
    margin = z / (1 + z**2 / total) * float(np.sqrt(share * (1 - share) / total + z**2 / (4 * total**2)))
    return Interval(share, max(0.0, middle - margin), min(1.0, middle + margin))


def finite_or_null(value: Any) -> Any:
    """Return plain JSON types with None for every number that JSON has no word for."""
    if isinstance(value, Mapping):
        return {name: finite_or_null(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite_or_null(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
