"""From an experiment's declared runs to the jobs that make and measure them.

Jobs are listed in the order of priority: what others wait for comes first; the runner starts whatever is ready.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from eval.registry import Experiments, RunEntry
from openrecap import evaluation_jobs, training_jobs
from openrecap.context import Context
from openrecap.folders import Folders
from openrecap.jobs import Job, check

_TRAINING: dict[str, Callable[[Context, RunEntry], Job]] = {
    "foundation": training_jobs.foundation,
    "captioner": training_jobs.captioner,
    "recaption": training_jobs.recaption,
    "clip": training_jobs.clip,
    "dit": training_jobs.dit,
}


def build(experiments: Experiments, root: Path, configs: Path = Path("configs")) -> list[Job]:
    """Return every job of the preset, each after those it needs; raise `UserError` on a design that can't run."""
    context = Context(experiments=experiments, at=Folders(root=root), configs=configs)
    trained = [_TRAINING[entry.stage](context, entry) for entry in experiments.runs]
    measured = list(_measured(context))
    closing = evaluation_jobs.closing(context, tuple(job.name for job in measured))
    jobs = [training_jobs.data(context), *trained, *measured, *closing]
    check(jobs)
    return jobs


def _measured(context: Context) -> Iterator[Job]:
    yield evaluation_jobs.judges(context)
    for entry in context.experiments.runs:
        if entry.stage == "captioner":
            yield from evaluation_jobs.captioner(context, entry)
        elif entry.stage == "clip":
            yield evaluation_jobs.clip(context, entry)
        elif entry.stage == "dit":
            yield evaluation_jobs.dit(context, entry)
