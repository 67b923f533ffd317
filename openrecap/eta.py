"""How long the rest will take, judged by what finished."""

from collections.abc import Iterable, Mapping
from statistics import fmean

from openrecap.jobs import Job

_BRIEF_STAGES = ("tables", "report")
"""Stages of one short job each, left out until they are done."""


def seconds_left(
    unfinished: Iterable[Job], seconds_of_finished: Mapping[Job, float], *, spent: float, side_by_side: int
) -> float | None:
    """Return about how many seconds of wall-clock time are left; None while some stage has no finished job to judge by.

    Each unfinished job counts with the mean of its stage; `spent` seconds of them are over in jobs that are running.
    """
    by_stage: dict[str, list[float]] = {}
    for job, seconds in seconds_of_finished.items():
        by_stage.setdefault(job.stage, []).append(seconds)
    total = -spent
    for job in unfinished:
        if job.stage not in by_stage and job.stage not in _BRIEF_STAGES:
            return None
        total += fmean(by_stage.get(job.stage, [0.0]))
    return max(total, 0.0) / side_by_side
