"""Stop a run whose captions have become others: each unit is held against the run's first ones before it counts."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from imagetext.parquet import rows_of
from imagetext.sidecars import read_sidecar_table
from recaption.config import RecaptionConfig
from recaption.job.marks import finished_names
from recaption.quality.calibration import (
    CALIBRATION,
    Calibration,
    calibrate,
    departures,
    read_calibration,
    write_calibration,
)
from recaption.quality.rates import UnitRates
from runtime.errors import UserError

COLUMNS = ("key", "sha256", "status", "re_caption", "flags", "repairs", "re_clip_score", "org_clip_score")


class DriftMonitor:
    """Holds units against the calibration of their run, which all its processes share through a file.

    While there is none, units pass; whoever finds enough rows finished writes it.
    """

    def __init__(self, config: RecaptionConfig):
        self._folder, self._drift = config.output_dir, config.drift
        self._calibration = None if config.drift.reference is None else read_calibration(config.drift.reference)

    def check(self, name: str, rows: Sequence[Mapping[str, Any]], rates: UnitRates) -> list[str]:
        """Return in what a unit departs from the calibration, if the run goes on all the same.

        Raises UserError for one that departs; it is then not finished, and done again when the run is continued.
        """
        if self._calibration is None:
            self._calibration = self._find()
        if self._calibration is None:
            return []
        found = departures(self._calibration, rows, rates, self._drift)
        if not found or not self._drift.stop or name in self._drift.accept:
            for line in found:
                print(f"{name} has drifted: {line}", file=sys.stderr, flush=True)
            return found
        raise UserError(
            "captions have drifted",
            where=f"{self._folder}: unit {name}",
            found="; ".join(found),
            wanted=f"the like of {_some(self._calibration.units)}",
            fix="Look for the cause and start again: the unit is done anew. If its captions are sound, add "
            f"--drift.accept '[\"{name}\"]'; --drift.stop false only tells of drift",
        )

    def _find(self) -> Calibration | None:
        path = self._folder / CALIBRATION
        if path.exists():
            return read_calibration(path)
        units: dict[str, list[dict[str, Any]]] = {}
        num_captioned = 0
        for name in sorted(finished_names(self._folder)):
            units[name] = rows_of(read_sidecar_table(self._folder, name, COLUMNS))
            num_captioned += sum(row["re_caption"] is not None for row in units[name])
            if num_captioned >= self._drift.calibration_rows:
                found = calibrate(units)
                write_calibration(self._folder, found)
                return found
        return None


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
