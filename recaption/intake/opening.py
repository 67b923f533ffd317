"""The units of a job as it captions them: its input's, seen through its intake where it has one."""

from collections.abc import Sequence

from recaption.config import RecaptionConfig
from recaption.inputs.opening import open_units
from recaption.inputs.units import Unit


def units_of_job(config: RecaptionConfig) -> Sequence[Unit]:
    """Return the units of a job; raises UserError as `open_units` does, and for an intake that is not there."""
    units = open_units(config)
    if config.intake is None:
        return units
    from recaption.intake.verdicts import through_intake

    return through_intake(units, config.intake)
