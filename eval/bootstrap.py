"""Intervals: a bootstrap over test items, and over training seeds and test items for contrasts between arms.

A contrast draws the same items and weighs the seeds alike for every arm (paired), so what all arms share cancels. Items
and seeds are drawn independently because every seed is tested on the same items (the pigeonhole bootstrap of Owen 2007,
arXiv 0712.1111). Items are drawn with replacement. Seeds are so few that drawing them would make intervals far too
narrow (two seeds: the range of two values); they get normal weights around 1/n instead (the multiplier bootstrap, Wu
1986) with the standard error that n values have, widened to Student's t with n - 1 degrees of freedom.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, t

from eval.outcomes import Outcome
from runtime import seeds
from runtime.errors import UserError
from runtime.intervals import COVERAGE, Interval

REPLICATES = 1000
_CHUNK = 100
"""Replicates drawn at a time; bounds memory at chunk x items x 8 bytes."""


@dataclass(frozen=True)
class Term:
    """One addend of a contrast: weight x mean over training seeds of mean over metrics."""

    weight: float
    runs: Mapping[int, Mapping[str, Outcome]]
    """Outcomes by training seed and metric."""
    metrics: tuple[str, ...]

    def value_at(self, training_seed: int) -> float:
        """Give the mean over metrics of one training seed's run."""
        return float(np.mean([self.runs[training_seed][metric].value for metric in self.metrics]))


def item_interval(outcome: Outcome, seed: int = 0, replicates: int = REPLICATES) -> Interval:
    """Bootstrap one metric of one run over its test items."""
    term = Term(1.0, {0: {"only/metric": outcome}}, ("only/metric",))
    return contrast_interval([term], seed=seed, replicates=replicates)


def contrast_interval(terms: Sequence[Term], *, seed: int = 0, replicates: int = REPLICATES) -> Interval:
    """Estimate sum of weighted terms, with a hierarchical bootstrap over training seeds and test items, paired.

    Raises UserError when two arms were tested on different items or trained with different seeds.
    """
    training_seeds = _shared_seeds(terms)
    generator = seeds.numpy_generator(seed, "contrast")
    estimate = sum(term.weight * float(np.mean([term.value_at(seed) for seed in training_seeds])) for term in terms)
    samples = [
        _replicate_chunk(terms, training_seeds, generator, min(_CHUNK, replicates - start))
        for start in range(0, replicates, _CHUNK)
    ]
    tail = (1.0 - COVERAGE) / 2.0
    low, high = np.nanquantile(np.concatenate(samples), [tail, 1.0 - tail])
    return Interval(estimate, float(low), float(high))


def _shared_seeds(terms: Sequence[Term]) -> list[int]:
    common = sorted(set.intersection(*(set(term.runs) for term in terms)))
    if not common:
        found = [sorted(term.runs) for term in terms]
        raise UserError("the arms of a contrast share no training seed", found=found, wanted="paired seeds")
    return common


def _replicate_chunk(
    terms: Sequence[Term], training_seeds: Sequence[int], generator: np.random.Generator, size: int
) -> np.ndarray:
    item_draws: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    seed_weights = _draw_seed_weights(generator, size, len(training_seeds))
    total = np.zeros(size)
    for term in terms:
        by_seed = []
        for training_seed in training_seeds:
            outcomes = term.runs[training_seed]
            values = [
                outcomes[metric].replicates(_draw_items(item_draws, metric, outcomes[metric], generator, size))
                for metric in term.metrics
            ]
            by_seed.append(np.mean(values, axis=0))
        total += term.weight * (seed_weights * np.stack(by_seed, axis=1)).sum(axis=1)
    return total


def _draw_seed_weights(generator: np.random.Generator, size: int, num_seeds: int) -> np.ndarray:
    """Return weights (size, num_seeds), each row with sum 1; of a single seed nothing can be told, and it counts 1."""
    if num_seeds == 1:
        return np.ones((size, 1))
    upper = (1.0 + COVERAGE) / 2.0
    widening = float(t.ppf(upper, num_seeds - 1) / norm.ppf(upper))
    noise = generator.normal(size=(size, num_seeds))
    centred = noise - noise.mean(axis=1, keepdims=True)
    return 1.0 / num_seeds + widening * centred / np.sqrt(num_seeds * (num_seeds - 1))


def _draw_items(
    item_draws: dict[str, tuple[np.ndarray, np.ndarray]],
    metric: str,
    outcome: Outcome,
    generator: np.random.Generator,
    size: int,
) -> np.ndarray:
    """Draw items of a metric's data set once for all arms, seeds and metrics of that data set."""
    data_set = metric.split("/")[0]
    if data_set not in item_draws:
        count = len(outcome.ids)
        item_draws[data_set] = (outcome.ids, generator.multinomial(count, np.full(count, 1.0 / count), size=size))
    ids, draws = item_draws[data_set]
    if not np.array_equal(ids, outcome.ids):
        raise UserError(
            "arms were tested on different items",
            where=metric,
            found=f"{len(outcome.ids)} items beginning with {outcome.ids[:2].tolist()}",
            wanted=f"{len(ids)} items beginning with {ids[:2].tolist()}",
            fix="Evaluate all arms on one build of the data",
        )
    return draws.astype(np.float64)
