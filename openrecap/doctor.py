"""Say whether this machine can run OpenRecap, and what is off, before anything is started."""

import shutil
import sys
from importlib import metadata
from pathlib import Path

from openrecap import machine

_MIN_DISK_GIB = 10
_MIN_MEMORY_GIB = 8
_GIB = 2**30


def examine(constraints: Path) -> list[tuple[bool, str]]:
    """Return (is well, finding) for Python, pinned packages, cores, GPUs, memory and disk."""
    found = machine.look()
    memory_gib = machine.memory_bytes() / _GIB
    disk_gib = shutil.disk_usage(Path.cwd()).free / _GIB
    return [
        (sys.version_info >= (3, 11), f"Python {sys.version.split()[0]} (3.11 or newer wanted)"),
        *_packages(constraints),
        (True, f"{found.cores} cores"),
        (True, _gpus(found.gpus, machine.gpu_names())),
        (memory_gib >= _MIN_MEMORY_GIB, f"{memory_gib:.0f} GiB of memory ({_MIN_MEMORY_GIB} wanted)"),
        (disk_gib >= _MIN_DISK_GIB, f"{disk_gib:.0f} GiB of free disk ({_MIN_DISK_GIB} wanted)"),
    ]


def _gpus(used: tuple[str, ...], names: tuple[str, ...]) -> str:
    if not names:
        return "GPUs: none (fine for quick, mini and mini_full)"
    return f"GPUs: {', '.join(names)}; used: {', '.join(used) or 'none, as CUDA_VISIBLE_DEVICES says'}"


def _packages(constraints: Path) -> list[tuple[bool, str]]:
    """Compare what is installed with the pins; a pinned package that is not installed may be an extra's."""
    off = []
    num_equal = 0
    for line in constraints.read_text().splitlines():
        name, _, pinned = line.partition("==")
        try:
            installed = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        if installed == pinned:
            num_equal += 1
        else:
            off.append((False, f"{name} {installed} is installed, {pinned} is pinned"))
    return [(True, f"{num_equal} packages as pinned"), *off]
