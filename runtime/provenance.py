"""Where a result came from: commit, versions, command and machine."""

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

_PACKAGES = (
    "torch", "torchvision", "transformers", "tokenizers", "accelerate", "deepspeed", "peft", "diffusers",
    "open_clip_torch", "timm", "webdataset", "pyarrow", "numpy", "pillow", "safetensors",
)  # fmt: skip


def collect() -> dict[str, object]:
    """Return the facts about this start of a command, as plain JSON types."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "commit": source_commit(),
        "python": platform.python_version(),
        "versions": versions(),
        "host": {"name": platform.node(), "system": platform.platform(), "cpus": os.cpu_count()},
    }


def versions() -> dict[str, str]:
    """Return name -> version of the installed libraries that numbers depend on."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def source_commit() -> str | None:
    """Return the commit of the source tree, with "+changes" when files differ from it; None outside a repository."""
    folder = Path(__file__).resolve().parent.parent
    if not (folder / ".git").exists():
        return None
    commit = _git(folder, "rev-parse", "HEAD")
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return commit and (f"{commit}+changes" if changes else commit)


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
