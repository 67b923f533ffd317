"""What the machine offers: cores this process may use, memory, and GPUs."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from itertools import takewhile

_DRIVER_SECONDS = 30
"""A driver that has not answered by then is hung."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Cores and GPUs to share out among jobs."""

    cores: int
    gpus: tuple[str, ...] = ()
    """Ids of the GPUs as `CUDA_VISIBLE_DEVICES` takes them; each is a slot for one job."""


def look() -> Machine:
    """Return the cores and NVIDIA GPUs this process may use; `CUDA_VISIBLE_DEVICES`, where set, chooses the GPUs."""
    return Machine(cores=len(os.sched_getaffinity(0)), gpus=_gpu_ids(len(gpu_names())))


def _gpu_ids(num_answering: int) -> tuple[str, ...]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if num_answering == 0 or visible is None:
        return tuple(str(index) for index in range(num_answering))
    # As CUDA reads it: the first id that names nothing ends the list.
    named = takewhile(lambda name: name not in ("", "-1"), (name.strip() for name in visible.split(",")))
    return tuple(dict.fromkeys(named))


def gpu_names() -> tuple[str, ...]:
    """Return the names of the NVIDIA GPUs that answer; none where there is no driver or it hangs."""
    if shutil.which("nvidia-smi") is None:
        return ()
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=_DRIVER_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return ()
    return tuple(line.strip() for line in answer.stdout.splitlines() if line.strip()) if answer.returncode == 0 else ()


def memory_bytes() -> int:
    """Return the machine's physical memory in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
