"""The verbs: run a job, say how far it is, check what it wrote."""

import json
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from recaption.config import RecaptionConfig, StatusConfig, VerifyConfig
from recaption.engine.report import StageTotals, UnitReport
from recaption.inputs.units import Unit
from recaption.intake.opening import units_of_job
from recaption.job.folder import CONFIG, DONE, Job, open_job
from recaption.job.manifest import read_manifest
from recaption.job.marks import finished_names, read_marks
from recaption.job.progress import summarise
from recaption.job.reopening import saved_config
from recaption.job.status_page import as_json, as_lines, describe_counts
from recaption.job.verification import find_problems
from recaption.planning.checking import PLAN, check_lines
from runtime.config import to_dict
from runtime.errors import UserError
from runtime.progress import Progress
from runtime.stop_signal import ends_on_sigterm


def run(config: RecaptionConfig) -> None:
    """Caption what is not captioned yet, of the whole job or of one part; a finished job returns at once."""
    job = open_job(config)
    try:
        if not job.is_done():
            with ends_on_sigterm():
                _caption(config, job)
            job.finish(
                None if config.intake is None else partial(_share_captions, config.output_dir, job, config.intake)
            )
    finally:
        job.lock.close()
    _print_end(config, job)


def status(config: StatusConfig) -> None:
    """Print how far a job is, how fast it goes, what failed and why; reads its marks alone."""
    manifest = read_manifest(config.output_dir)
    names, now = sorted(finished_names(config.output_dir)), time.time()
    totals = summarise(read_marks(config.output_dir, names), now=now)
    done = (config.output_dir / DONE).exists()
    if config.json:
        print(json.dumps(as_json(totals, manifest.num_units, done=done, now=now), indent=2))
    else:
        lines = as_lines(config.output_dir, totals, manifest.num_units, done=done, now=now)
        print("\n".join([*lines, *check_lines(config.output_dir, totals, None)]))


def verify(config: VerifyConfig) -> None:
    """Compare every sidecar with its input and leave with exit code 1 when anything is wrong."""
    units = units_of_job(_job_config(config))
    manifest = read_manifest(config.output_dir)
    num_problems = 0
    for problem in find_problems(config.output_dir, units, manifest, config.threads):
        print(problem)
        num_problems += 1
    print(f"{config.output_dir}: {len(units)} units checked, {num_problems} problems")
    if num_problems:
        raise SystemExit(1)


def _print_end(config: RecaptionConfig, job: Job) -> None:
    facts, folder = job.facts(), config.output_dir
    if not facts:
        print(
            f"{folder}: part {config.part} is done; {len(finished_names(folder))}/{len(job.units)} units of the job are"
        )
        return
    counts = f"{facts['num_units']} units, {facts['num_rows']} rows ({describe_counts(facts['statuses'])})"
    print(f"{folder}: done, {counts}")
    if (folder / PLAN).exists():
        totals = summarise(read_marks(folder, [unit.name for unit in job.units]), now=time.time())
        for line in check_lines(folder, totals, config.workers):
            print(line)


def _caption(config: RecaptionConfig, job: Job) -> None:
    num_rows, started, totals = 0, time.monotonic(), StageTotals()
    label = "recaption" if config.part == "0/1" else f"recaption {config.part}"
    with Progress(total=len(job.pending), unit="units", label=label) as progress:
        for report in _caption_units(config, job.pending):
            num_rows += report.num_rows
            totals.add(report)
            progress.advance()
            rate = num_rows / max(time.monotonic() - started, 1e-9)
            held_up_by = report.bottleneck or "none"
            progress.show(
                {"unit": report.name, "images": num_rows, "images_per_second": rate, "bottleneck": held_up_by}
            )
    if num_rows:
        print(f"{label}: {totals.describe()}")


def _share_captions(folder: Path, job: Job, intake: Path) -> None:
    from recaption.intake.sharing import share_captions

    num_shared = share_captions(folder, job.units, intake)
    print(f"{num_shared} duplicates got the captions of the rows captioned in their stead")


def _caption_units(config: RecaptionConfig, units: Sequence[Unit]) -> Iterator[UnitReport]:
    if config.executor == "ray":
        from recaption.executors import ray_cluster

        return ray_cluster.caption_units(config, units)
    from recaption.executors import local

    return local.caption_units(config, units)


def _job_config(config: VerifyConfig) -> RecaptionConfig:
    read_manifest(config.output_dir)
    found = saved_config(config.output_dir, to_dict(config))
    if found is None:
        raise UserError("the job has no config", where=config.output_dir / CONFIG, found="no such file")
    return found
