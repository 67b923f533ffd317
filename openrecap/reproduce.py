"""The runner's verbs over one preset: reproduce it, show its state, say what it would run."""

from pathlib import Path

from eval.commits import unlike_commits
from eval.contrasts import load_declaration
from eval.registry import load_experiments
from openrecap import machine, runner
from openrecap.console import Console
from openrecap.folders import Folders
from openrecap.jobs import Job, select
from openrecap.lock import exclusive
from openrecap.marks import Marks
from openrecap.pipeline import build
from runtime.errors import UserError
from runtime.tables import markdown_table

EXPERIMENTS = Path("configs/experiments")


def declared_jobs(preset: str, runs: Path) -> list[Job]:
    """Return the jobs of `configs/experiments/<preset>.yaml`; raise `UserError` when there is no such preset.

    The declared contrasts are read too: a mistake there must show before the training, not after it.
    """
    path = EXPERIMENTS / f"{preset}.yaml"
    if not path.is_file():
        known = sorted(file.stem for file in EXPERIMENTS.glob("*.yaml") if file.stem != "findings")
        raise UserError("no such preset", where="--preset", found=preset, wanted="one of " + ", ".join(known))
    load_declaration(EXPERIMENTS / "findings.yaml")
    return build(load_experiments(path), runs / preset)


def reproduce(preset: str, runs: Path, *, until: str | None, redo_stale: bool = False) -> bool:
    """Run what is not done of a preset, up to stage `until`, and print the tables when they are among it."""
    jobs = select(declared_jobs(preset, runs), until)
    at = Folders(root=runs / preset)
    with exclusive(at.root / ".lock"):
        succeeded = runner.run(
            jobs,
            machine=machine.look(),
            marks=Marks(at.marks),
            logs=at.logs,
            console=Console(),
            redo_stale=redo_stale,
        )
    if succeeded and any(job.stage == "tables" for job in jobs):
        print((at.root / "tables.md").read_text())
    if succeeded and any(job.stage == "report" for job in jobs):
        print(f"Report: {at.root / 'report' / 'index.html'}")
    return succeeded


def print_status(preset: str, runs: Path) -> None:
    """Print every job of a preset: done (and in how long), ready, or what it waits for."""
    marks = Marks(Folders(root=runs / preset).marks)
    done: set[str] = set()
    rows = []
    jobs = declared_jobs(preset, runs)
    for job in jobs:
        waits = [need for need in job.needs if need not in done]
        mark = marks.read(job.name)
        if not waits and marks.is_done(job):
            done.add(job.name)
            rows.append([job.name, f"done in {mark.seconds:.0f} s" if mark else "done"])
        else:
            rows.append([job.name, f"waits for {waits[0]}" if waits else "ready"])
    print(markdown_table(["job", "state"], rows))
    print(f"\n{len(done)} of {len(rows)} done")
    commits = unlike_commits(job.output for job in jobs if job.name in done)
    if commits is not None:
        print(commits)


def print_plan(preset: str, runs: Path) -> None:
    """Print how many jobs a preset has by stage, how many are done, and the time that like jobs took here."""
    jobs = declared_jobs(preset, runs)
    marks = Marks(Folders(root=runs / preset).marks)
    rows = []
    for stage in dict.fromkeys(job.stage for job in jobs):
        members = [job for job in jobs if job.stage == stage]
        seconds = [mark.seconds for job in members if (mark := marks.read(job.name))]
        typical = f"{sum(seconds) / len(seconds):.0f}" if seconds else "not run here yet"
        threads = max(job.threads for job in members)
        rows.append([stage, str(len(members)), str(len(seconds)), str(threads), typical])
    print(markdown_table(["stage", "jobs", "run before", "threads a job", "mean seconds a job"], rows))
