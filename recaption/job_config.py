"""Where a job's folder may lie, and how a job is shared out: settings of the Ray executor."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from runtime.errors import UserError

ExecutorName = Literal["local", "ray"]


@dataclass(frozen=True, kw_only=True)
class RayConfig:
    """How captioners are spread over a Ray cluster."""

    address: str | None = None
    """Cluster to join: "auto" for the one this machine belongs to, or HOST:PORT. None starts one here, with `workers`
    captioners, which ends with the job."""
    cpus_per_captioner: int = 1
    """Cores that Ray sets aside for each captioner."""
    gpus_per_captioner: float | None = None
    """GPUs that Ray sets aside for each captioner; None is one each where the cluster has GPUs and `device` is not cpu,
    else none."""
    captioners_max: int | None = None
    """Most captioners at a time; None fills the cluster, and nodes that join it."""
    losses_max: int = 5
    """How often a unit may be lost with its captioner before it is left out; the job then ends with an error that
    names it, once everything else is done."""
    patience_seconds: float = 600.0
    """How long to wait while the cluster has room for no captioner at all."""

    def __post_init__(self) -> None:
        if self.address not in (None, "auto") and not re.fullmatch(r"[^/\s]+:\d+", str(self.address)):
            what, wanted = "no address of a Ray cluster", "auto, or HOST:PORT of its head"
            raise UserError(what, where="ray.address", found=self.address, wanted=wanted)
        for name in ("cpus_per_captioner", "captioners_max", "losses_max"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError("out of range", where=name, found=value, wanted=">= 1")
        if self.gpus_per_captioner is not None and self.gpus_per_captioner < 0:
            raise UserError("out of range", where="gpus_per_captioner", found=self.gpus_per_captioner, wanted=">= 0")
        if self.patience_seconds <= 0:
            raise UserError("out of range", where="patience_seconds", found=self.patience_seconds, wanted="> 0")


def check_output_dir(folder: Path) -> None:
    """Refuse a URL for a job's folder: locks, renames that replace and several small files beside the sidecars need a
    file system.
    """
    if re.match(r"[A-Za-z][\w+.-]+:/", str(folder)):
        raise UserError(
            "a job's folder is a path, not a URL",
            where="output_dir",
            found=str(folder),
            wanted="a folder that is mounted on every machine that captions; inputs may be URLs",
            fix="Mount it, or caption into a local folder and copy that once it is done",
        )
