"""Training curves: reading them, and telling whether a run has left its learning plateau.

A contrastive or text-to-image model that binds words to pictures does so late: its curve lies near what it could reach
without binding (the plateau), then breaks away. Contrasts between arms on the plateau compare noise, so they are
published as curves and not judged. The rule is operational, on the probe that training logs on development data:

    a run has left its plateau when the median of its last three probes reaches `floor + margin`,

with the floor what guessing reaches on that probe. The rule is about the level, not the slope: a curve that still
rises has left its plateau.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

LAST_PROBES = 3


@dataclass(frozen=True, kw_only=True)
class PlateauRule:
    """What the probe of a stage must reach for a run to be judged."""

    probe: str
    """Name of the metric: a column of metrics.jsonl, or of a row measured on development data (`development/...`)."""
    floor: float
    """What guessing reaches."""
    margin: float
    """How far above the floor the plateau surely ends."""


@dataclass(frozen=True, kw_only=True)
class PlateauReport:
    """Whether a run left its plateau, with the numbers behind it."""

    known: bool
    left: bool
    level: float | None
    threshold: float


def read_metrics(run_folder: Path) -> list[Mapping[str, float]]:
    """Read a run's metrics.jsonl, empty without one."""
    path = run_folder / "metrics.jsonl"
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def series(records: Sequence[Mapping[str, float]], name: str) -> list[tuple[float, float]]:
    """Select one metric as (update, value) pairs, in order of updates."""
    points = [(float(record["update"]), float(record[name])) for record in records if record.get(name) is not None]
    return sorted(points)


def judge_plateau(points: Sequence[tuple[float, float]], rule: PlateauRule) -> PlateauReport:
    """Apply the rule to a probe's curve; without probes nothing is known and nothing is called left."""
    threshold = rule.floor + rule.margin
    if not points:
        return PlateauReport(known=False, left=False, level=None, threshold=threshold)
    level = median(value for _, value in points[-LAST_PROBES:])
    return PlateauReport(known=True, left=level >= threshold, level=level, threshold=threshold)
