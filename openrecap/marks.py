"""Completion marks: which job finished, from which inputs, leaving which bytes.

A mark holds the fingerprint of what went in (arguments, config files, the needed jobs' results) and of what came out. A
job is done when its mark matches what would go in now; so finished work is never repeated and stale work never reused.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from openrecap.jobs import Job
from runtime.atomic import write_json
from runtime.json_files import read_object

_VOLATILE = ("checkpoints", "logs")
_RESULT_SUFFIXES = (".safetensors", ".parquet", ".tar", ".jsonl", ".npz", ".md", ".html", ".txt", ".json", ".model")
_VOLATILE_FILES = ("metrics.jsonl", "done.json", "provenance.json", "progress.json")


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

    def write(self, job: Job, inputs: str, seconds: float) -> Mark:
        """Record that `job` finished from `inputs` and fingerprint what it left."""
        mark = Mark(inputs=inputs, result=fingerprint_result(job.output), seconds=round(seconds, 1))
        write_json(self._path(job.name), {"job": job.name, **vars(mark)})
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
        return mark is not None and job.output.exists() and mark.inputs == self.inputs_of(job)

    def is_stale(self, job: Job) -> bool:
        """Say whether `job` left a folder that was made from other inputs; files are simply written anew."""
        mark = self.read(job.name)
        return mark is not None and job.output.is_dir() and mark.inputs != self.inputs_of(job)

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
        if path.is_file() and not volatile and path.suffix in _RESULT_SUFFIXES and path.name not in _VOLATILE_FILES:
            yield path


def _digest(parts: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
