"""Outcomes of single test items, kept so that arms can be compared pair by pair long after their runs."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix

from eval.frechet import frechet_distance, resampled_distances
from runtime import atomic
from runtime.errors import UserError


@dataclass(frozen=True)
class Ratio:
    """A metric that is sum(scores) / sum(weights) over test items.

    An item is what the bootstrap draws: an image with all its captions, a prompt with all its claims. `scores` holds
    the item's points (hits, claims supported) and `weights` how many points it could have had.
    """

    ids: np.ndarray
    scores: np.ndarray
    weights: np.ndarray

    def __post_init__(self) -> None:
        """Check that the three arrays describe the same items."""
        assert self.ids.shape == self.scores.shape == self.weights.shape, "one score and one weight for each item"
        assert self.ids.ndim == 1 and len(np.unique(self.ids)) == len(self.ids), "item ids are unique"

    @property
    def value(self) -> float:
        """Give sum(scores) / sum(weights), NaN without weight."""
        total = float(self.weights.sum())
        return float(self.scores.sum()) / total if total else float("nan")

    @property
    def count(self) -> int:
        """Count the items that carry weight."""
        return int((self.weights > 0).sum())

    def replicates(self, draws: np.ndarray) -> np.ndarray:
        """Compute the metric for bootstrap draws of shape (replicates, items), each row how often an item was drawn."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return (draws @ self.scores) / (draws @ self.weights)


@dataclass(frozen=True)
class Cloud:
    """A metric that is the Frechet distance between test items' features and a fixed reference cloud."""

    ids: np.ndarray
    features: np.ndarray
    reference: np.ndarray

    def __post_init__(self) -> None:
        """Check that every item has a feature vector of the reference's width."""
        assert self.features.shape[0] == self.ids.shape[0], "one feature vector an item"
        assert self.features.shape[1] == self.reference.shape[1], "features and reference share their width"

    @property
    def value(self) -> float:
        """Give the Frechet distance of all items to the reference."""
        return frechet_distance(self.features.astype(np.float64), self.reference.astype(np.float64))

    @property
    def count(self) -> int:
        """Count the items."""
        return len(self.ids)

    def replicates(self, draws: np.ndarray) -> np.ndarray:
        """Compute the distance for bootstrap draws of shape (replicates, items), centred on the distance of all items.

        A draw repeats items, which moves any cloud away from the reference; that shift is not the estimate's error.
        """
        distances = resampled_distances(self.features.astype(np.float64), self.reference.astype(np.float64), draws)
        return distances - distances.mean() + self.value


@dataclass(frozen=True)
class Macro:
    """A metric that is the mean over groups of the mean score of each group's items: of classes, of relations."""

    ids: np.ndarray
    scores: np.ndarray
    groups: np.ndarray
    """Name of each item's group."""

    def __post_init__(self) -> None:
        """Check that the three arrays describe the same items."""
        assert self.ids.shape == self.scores.shape == self.groups.shape, "one score and one group for each item"
        assert self.ids.ndim == 1 and len(np.unique(self.ids)) == len(self.ids), "item ids are unique"

    @property
    def value(self) -> float:
        """Give the mean over groups, NaN without items."""
        return float(self.replicates(np.ones((1, len(self.ids))))[0]) if len(self.ids) else float("nan")

    @property
    def count(self) -> int:
        """Count the items."""
        return len(self.ids)

    def replicates(self, draws: np.ndarray) -> np.ndarray:
        """Compute the metric for bootstrap draws of shape (replicates, items); a group that no draw met is left out."""
        _, numbers = np.unique(self.groups, return_inverse=True)
        rows = np.arange(len(numbers))
        members = csr_matrix((np.ones(len(numbers)), (rows, numbers)))
        hits = csr_matrix((self.scores, (rows, numbers)))
        drawn = draws @ members
        with np.errstate(invalid="ignore", divide="ignore"):
            means = (draws @ hits) / drawn
        return np.where(drawn > 0, means, 0.0).sum(axis=1) / (drawn > 0).sum(axis=1)


Outcome = Ratio | Cloud | Macro
_KINDS: Mapping[str, type[Outcome]] = {"ratio": Ratio, "cloud": Cloud, "macro": Macro}
_PARTS = {kind: tuple(field.name for field in fields(made)) for kind, made in _KINDS.items()}


def ratio(scores: Mapping[str, tuple[float, float]]) -> Ratio:
    """Build a Ratio from item id -> (score, weight); items are ordered by id so that arms line up."""
    ids = sorted(scores)
    values = np.array([scores[item] for item in ids], dtype=np.float64).reshape(len(ids), 2)
    return Ratio(np.array(ids), values[:, 0], values[:, 1])


def mean_of(values: Mapping[str, float]) -> Ratio:
    """Build a Ratio that is a plain mean over items."""
    return ratio({item: (float(value), 1.0) for item, value in values.items()})


def macro_mean(ids: Sequence[str], scores: np.ndarray, groups: Sequence[str], min_cases: int = 1) -> Macro:
    """Build a Macro of the groups that have enough items; items are ordered by id so that arms line up."""
    sizes = Counter(groups)
    kept = sorted((index for index, group in enumerate(groups) if sizes[group] >= min_cases), key=lambda i: ids[i])
    chosen = [str(ids[index]) for index in kept]
    return Macro(np.array(chosen), scores[kept].astype(np.float64), np.array([groups[index] for index in kept]))


def write_outcomes(path: Path, outcomes: Mapping[str, Outcome]) -> None:
    """Write outcomes by metric as one compressed npz; the file is whole or absent."""
    arrays = {}
    for metric, outcome in outcomes.items():
        kind = next(name for name, made in _KINDS.items() if isinstance(outcome, made))
        for part in _PARTS[kind]:
            arrays[f"{metric}|{kind}|{part}"] = getattr(outcome, part)
    with atomic.atomic_path(path) as partial, partial.open("wb") as stream:
        np.savez_compressed(stream, **arrays)


def read_outcomes(path: Path) -> dict[str, Outcome]:
    """Read outcomes written by `write_outcomes`."""
    parts: dict[tuple[str, str], dict[str, np.ndarray]] = {}
    with np.load(path, allow_pickle=False) as archive:
        for name in archive.files:
            fields = name.split("|")
            if len(fields) != 3 or fields[1] not in _PARTS:
                raise UserError("unexpected array", where=str(path), found=name, wanted="<metric>|<kind>|<part>")
            parts.setdefault((fields[0], fields[1]), {})[fields[2]] = archive[name]
    return {metric: _KINDS[kind](**arrays) for (metric, kind), arrays in parts.items()}
