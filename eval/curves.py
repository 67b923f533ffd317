"""Training curves: reading them, and telling whether a run has left its learning plateau.

A contrastive or text-to-image model that binds words to pictures does so late: its curve lies near what it could reach
without binding (the plateau), then breaks away. Contrasts between arms on the plateau compare noise, so they are
published as curves and not judged. The rule is operational, on the probe that training logs on development data:

    a run has left its plateau when the median of its last three probes reaches the stage's threshold,

which is declared with the contrasts: a value, or a multiple of what guessing reaches. The rule is about the level, not
the slope: a curve that still rises has left its plateau.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

LAST_PROBES = 3


@dataclass(frozen=True, kw_only=True)
class PlateauRule:
    """What the probe of a stage must reach for a run to be judged."""

    probe: str
    """Name of the metric: a column of metrics.jsonl, or of a row measured on development data (`development/...`)."""
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
