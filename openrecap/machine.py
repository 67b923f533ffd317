"""What the machine offers: cores this process may use, memory, and GPUs."""

import os
import shutil
import subprocess
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Cores and GPUs to share out among jobs."""

    cores: int
    gpus: tuple[str, ...] = ()


def look() -> Machine:
    """Return the cores this process may use and the names of the NVIDIA GPUs that answer."""
    return Machine(cores=len(os.sched_getaffinity(0)), gpus=_gpus())


def _gpus() -> tuple[str, ...]:
    if shutil.which("nvidia-smi") is None:
        return ()
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, text=True, timeout=30, check=False)
    return tuple(line.strip() for line in answer.stdout.splitlines() if line.strip()) if answer.returncode == 0 else ()


def memory_bytes() -> int:
    """Return the machine's physical memory in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
