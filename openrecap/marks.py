"""Completion marks: which job finished, from which inputs, leaving which bytes.

A mark holds the fingerprint of what went in (arguments, config files, the needed jobs' results) and of what came out. A
job is done when its mark matches what would go in now: finished work is not repeated, and work from other inputs is not
reused. Code and package versions are no inputs: an edit of them leaves finished work done, and `openrecap status` and
the table of what the runs were served say so where the commits in the runs' `provenance.json` differ. A job that began
and has not finished has a second mark with the inputs it began from.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from openrecap.jobs import Job
from runtime.atomic import write_json
from runtime.json_files import read_object

_VOLATILE = ("checkpoints", "logs", "job")
_RESULT_SUFFIXES = (".safetensors", ".parquet", ".tar", ".jsonl", ".npz", ".md", ".html", ".txt", ".json", ".model")
_VOLATILE_FILES = ("metrics.jsonl", "done.json", "provenance.json", "progress.json")
_VOLATILE_SUFFIX = "_stats.json"
"""Ends the names of shards' completion marks: they hold times, and the digest of files that are counted themselves."""


@dataclass(frozen=True, kw_only=True)
class Mark:
    """What is remembered of a finished job."""

    inputs: str
    result: str
    seconds: float


class Marks:
    """The marks of one preset's runs, one small JSON file a job."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, name: str) -> Mark | None:
        """Return the mark of job `name`, or None when it never finished."""
        path = self._path(name)
        if not path.is_file():
            return None
        data = read_object(path, "inputs", "result", "seconds")
        return Mark(inputs=data["inputs"], result=data["result"], seconds=data["seconds"])

    def begin(self, job: Job, inputs: str) -> None:
        """Record that `job` begins from `inputs`; until it finishes, its output counts as half made from them."""
        write_json(self._begun_path(job.name), {"job": job.name, "inputs": inputs})

    def write(self, job: Job, inputs: str, seconds: float) -> Mark:
        """Record that `job` finished from `inputs` and fingerprint what it left."""
        mark = Mark(inputs=inputs, result=fingerprint_result(job.output), seconds=round(seconds, 1))
        write_json(self._path(job.name), {"job": job.name, **vars(mark)})
        self._begun_path(job.name).unlink(missing_ok=True)
        return mark

    def inputs_of(self, job: Job) -> str:
        """Return the fingerprint of what goes into `job` now; all it needs must have finished."""
        results = []
        for need in job.needs:
            mark = self.read(need)
            results.append(mark.result if mark else "absent")
        configs = [hashlib.sha256(path.read_bytes()).hexdigest() for path in job.config_files]
        return _digest([*job.arguments, *configs, *results])

    def is_done(self, job: Job) -> bool:
        """Say whether `job` finished from exactly what would go into it now, and its result is still there."""
        mark = self.read(job.name)
        if mark is None or self._begun_path(job.name).exists():
            return False
        return job.output.exists() and mark.inputs == self.inputs_of(job)

    def is_stale(self, job: Job) -> bool:
        """Say whether `job` left a folder, whole or half, that was made from other inputs; files are written anew."""
        made_from = self._last_inputs(job.name)
        return made_from is not None and job.output.is_dir() and made_from != self.inputs_of(job)

    def _last_inputs(self, name: str) -> str | None:
        """Return what the job's latest start worked from; None when it never began."""
        begun = self._begun_path(name)
        if begun.is_file():
            return str(read_object(begun, "inputs")["inputs"])
        mark = self.read(name)
        return None if mark is None else mark.inputs

    def _begun_path(self, name: str) -> Path:
        return self._path(name).with_suffix(".begun.json")

    def _path(self, name: str) -> Path:
        return self.folder / f"{name.replace('/', '--')}.json"


def fingerprint_result(output: Path) -> str:
    """Return a SHA-256 over names and bytes of what a job published, times and training state left out."""
    if output.is_file():
        return _digest([hashlib.sha256(output.read_bytes()).hexdigest()])
    parts = []
    for path in _published(output):
        with path.open("rb") as file:
            parts.append(f"{path.relative_to(output)} {hashlib.file_digest(file, 'sha256').hexdigest()}")
    return _digest(parts)


def _published(output: Path) -> Iterator[Path]:
    for path in sorted(output.rglob("*")):
        volatile = set(path.relative_to(output).parts) & set(_VOLATILE)
        if path.is_file() and not volatile and path.suffix in _RESULT_SUFFIXES and not _is_volatile(path.name):
            yield path


def _is_volatile(name: str) -> bool:
    return name in _VOLATILE_FILES or name.endswith(_VOLATILE_SUFFIX)


def _digest(parts: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
