"""Start one job as a process of its own: its cores, its device, its log; it never outlives the runner."""

import os
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from openrecap.jobs import Job
from runtime.parent import end_with_parent

# By default glibc gives the memory of every large tensor back to the kernel and then waits for fresh pages. On a loaded
# CPU b_base's image tower trained 1.24 times as fast without that, b_large's 1.09 times (docs/benchmarks/allocator.md).
# Pages of 2 MiB, where the kernel lends them, took another 5 and 14 % off the processor time of b_base's steps (each
# measured once).
KEEP_FREED_MEMORY = {"MALLOC_MMAP_THRESHOLD_": "1000000000", "MALLOC_TRIM_THRESHOLD_": "10000000000"}
LARGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
JOB_MEMORY = {**KEEP_FREED_MEMORY, **LARGE_PAGES}


@dataclass
class Running:
    """A started job and where it writes."""

    job: Job
    process: subprocess.Popen[bytes]
    log: Path
    started: float
    gpu: str | None
    """Id of the GPU it was given."""
    inputs: str
    """Fingerprint of what went in when it started."""


def start(job: Job, log: Path, *, gpu: str | None, started: float, inputs: str) -> Running:
    """Start `job`, its output appended to `log`; on Linux the kernel ends it when the runner dies."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as stream:
        process = subprocess.Popen(
            [sys.executable, *job.arguments],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=_environment(job, gpu),
            preexec_fn=partial(end_with_parent, os.getpid()),
        )
    return Running(job=job, process=process, log=log, started=started, gpu=gpu, inputs=inputs)


def _environment(job: Job, gpu: str | None) -> dict[str, str]:
    threads = str(job.threads)
    settings = {
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
    }
    if gpu is not None:
        settings["CUDA_VISIBLE_DEVICES"] = gpu
    return {**JOB_MEMORY, **os.environ, **settings}


def last_words(log: Path, num_lines: int = 8) -> str:
    """Return the last lines of a log, for the message of a failed job."""
    lines = log.read_text(errors="replace").strip().splitlines()
    return "\n".join(f"    {line}" for line in lines[-num_lines:])
