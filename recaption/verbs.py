"""The verbs: run a job, say how far it is, check what it wrote."""

import time
from collections.abc import Sequence
from pathlib import Path

from recaption.config import PLACES_AND_WORKERS, InspectConfig, RecaptionConfig
from recaption.executors.local import caption_units
from recaption.inputs.units import SUCCESS, Unit
from recaption.job.folder import count_statuses, list_units, open_manifest, pending, read_manifest
from recaption.job.verification import find_problems
from runtime.config import load
from runtime.errors import UserError
from runtime.progress import Progress
from runtime.run import Run


def run(config: RecaptionConfig) -> None:
    """Caption what is not captioned yet; a finished job returns at once."""
    units = list_units(config)
    job = Run.open(config.output_dir, config, identity_excludes=PLACES_AND_WORKERS)
    manifest = open_manifest(config, units)
    waiting = pending(config.output_dir, units)
    if waiting or not job.finished():
        seconds = _caption(config, units, waiting)
        statuses = count_statuses(config.output_dir, [unit.name for unit in units])
        job.finish(
            captioner_id=manifest.captioner_id,
            prompt_id=manifest.prompt_id,
            num_units=len(units),
            num_rows=statuses.total(),
            statuses=dict(sorted(statuses.items())),
            captioning_seconds=round(seconds, 1),
        )
    _print_counts(config.output_dir, units)


def status(config: InspectConfig) -> None:
    """Print how many units and rows are done, by status."""
    _print_counts(config.output_dir, list_units(_job_config(config)))


def verify(config: InspectConfig) -> None:
    """Compare every sidecar with its input and leave with exit code 1 when anything is wrong."""
    units = list_units(_job_config(config))
    manifest = read_manifest(config.output_dir)
    problems = [problem for unit in units for problem in find_problems(config.output_dir, unit, manifest)]
    for problem in problems:
        print(problem)
    print(f"{config.output_dir}: {len(units)} units checked, {len(problems)} problems")
    if problems:
        raise SystemExit(1)


def _caption(config: RecaptionConfig, units: Sequence[Unit], waiting: Sequence[Unit]) -> float:
    started = time.monotonic()
    total = sum(unit.num_rows for unit in units)
    done = total - sum(unit.num_rows for unit in waiting)
    with Progress(total=total, initial=done, unit="images", label="recaption") as progress:
        for unit in caption_units(config, waiting):
            progress.advance(unit.num_rows)
            progress.show({"unit": unit.name})
    return time.monotonic() - started


def _job_config(config: InspectConfig) -> RecaptionConfig:
    read_manifest(config.output_dir)
    overrides = [f"--output_dir={config.output_dir}"]
    if config.shards is not None:
        overrides.append(f"--shards={config.shards}")
    if config.images is not None:
        overrides.append(f"--images={config.images}")
    path = config.output_dir / "config.yaml"
    if not path.exists():
        raise UserError("the job has no config", where=path, found="no such file")
    return load(RecaptionConfig, path, overrides=overrides)


def _print_counts(folder: Path, units: Sequence[Unit]) -> None:
    names = [unit.name for unit in units]
    num_done = len(units) - len(pending(folder, units))
    statuses = count_statuses(folder, names)
    total = sum(unit.num_rows for unit in units)
    counts = ", ".join(
        f"{name} {count}" for name, count in sorted(statuses.items(), key=lambda item: item[0] != SUCCESS)
    )
    print(f"{folder}: {num_done}/{len(units)} units, {statuses.total()}/{total} rows ({counts or 'none yet'})")
