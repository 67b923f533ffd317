"""What the runner runs: one process of one stage, with what it needs first and what it leaves behind."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import UserError

STAGES = ("data", "foundation", "captioner", "recaption", "clip", "dit", "eval", "tables", "report")
"""The order in which a reader meets the stages; `--until STAGE` runs that stage and what it needs."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One process: `python -m ...` with the names of the jobs it needs and the folder or file it leaves."""

    name: str
    stage: str
    arguments: tuple[str, ...]
    """What follows `python`, e.g. `-m clip_train --config ...`."""
    output: Path
    """The folder or file whose content is the job's result."""
    needs: tuple[str, ...] = ()
    config_files: tuple[Path, ...] = ()
    """Files whose content decides the result; a change makes the job run again."""
    threads: int = 1
    """Cores the process is given; fixed by the experiment, so that results don't depend on the machine."""


def select(jobs: Sequence[Job], until: str | None) -> list[Job]:
    """Return the jobs of stage `until` and all that they need, in declared order; all jobs when it is None."""
    if until is None:
        return list(jobs)
    if until not in STAGES:
        raise UserError("unknown stage", where="--until", found=until, wanted="one of " + ", ".join(STAGES))
    by_name = {job.name: job for job in jobs}
    wanted = _closure([job.name for job in jobs if job.stage == until], by_name)
    return [job for job in jobs if job.name in wanted]


def _closure(names: Iterable[str], by_name: dict[str, Job]) -> set[str]:
    found: set[str] = set()
    left = list(names)
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left.extend(by_name[name].needs)
    return found


def check(jobs: Sequence[Job]) -> None:
    """Raise `UserError` for a doubled name or a need that no earlier job meets (so there can be no cycle)."""
    seen: set[str] = set()
    for job in jobs:
        if job.name in seen:
            raise UserError("run declared twice", where="experiments", found=job.name, wanted="each run once")
        missing = [need for need in job.needs if need not in seen]
        if missing:
            raise UserError(
                "run needs one that is not declared before it",
                where=job.name,
                found=missing[0],
                wanted="an earlier run",
            )
        seen.add(job.name)
