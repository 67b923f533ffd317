"""Training curves: reading them, and telling whether a run has left its learning plateau.

A contrastive or text-to-image model that binds words to pictures does so late: its curve lies near what it could reach
without binding (the plateau), then breaks away. Contrasts between arms on the plateau compare noise, so they are
published as curves and not judged. The rule is operational, on one probe a stage:

    a run has left its plateau when its probe's level reaches the stage's threshold,

which is declared with the contrasts: a value, or a multiple of what guessing reaches. A probe that training logs (of
contrastive models the accuracy within training batches, so on pictures they learn from) has many values; its level is
the median of the last three. A probe that an evaluation measures (of text-to-image models and captioners, on pictures
they never saw) has one row, and that is its level. The rule is about the level, not the slope: a curve that still rises
has left its plateau. Without a probe nothing is known, and a measured run of which nothing is known is not judged.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

LAST_PROBES = 3
"""Logged values whose median is a run's level."""


@dataclass(frozen=True, kw_only=True)
class PlateauRule:
    """What the probe of a stage must reach for a run to be judged."""

    probe: str
    """Name of the metric: one that an evaluation measured as a row, or else a column of metrics.jsonl."""
    minimum: float = 0.0
    """Value the probe must reach."""
    times_chance: float = 0.0
    """Multiple of chance the probe must reach, where guessing picks one of a training batch."""

    def threshold(self, batch_size: int) -> float:
        """Give the value that ends the plateau."""
        return max(self.minimum, self.times_chance / batch_size)


@dataclass(frozen=True, kw_only=True)
class PlateauReport:
    """Whether a run left its plateau, with the numbers behind it."""

    known: bool
    left: bool
    level: float | None
    threshold: float


def read_metrics(run_folder: Path) -> list[Mapping[str, Any]]:
    """Read a run's metrics.jsonl, empty without one."""
    path = run_folder / "metrics.jsonl"
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def series(records: Sequence[Mapping[str, Any]], name: str) -> list[tuple[float, float]]:
    """Select one metric as (update, value) pairs, in order of updates."""
    points = [(float(record["update"]), float(record[name])) for record in records if record.get(name) is not None]
    return sorted(points)


def judge_plateau(points: Sequence[tuple[float, float]], threshold: float) -> PlateauReport:
    """Compare a probe's last values with the threshold; without probes nothing is known and nothing is called left."""
    if not points:
        return PlateauReport(known=False, left=False, level=None, threshold=threshold)
    level = median(value for _, value in points[-LAST_PROBES:])
    return PlateauReport(known=True, left=level >= threshold, level=level, threshold=threshold)
