"""What the verbs of `python -m recaption` are told."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from imagetext.conversations import PAPER_PROMPT
from recaption.engine_config import EngineConfig
from recaption.executors.partition import Part
from recaption.job_config import ExecutorName, RayConfig
from runtime.device import DeviceName
from runtime.errors import UserError

Precision = Literal["fp32", "bf16"]

PLACES_AND_WORKERS = (
    "output_dir", "model", "shards", "images", "workers", "device", "engine", "executor", "part", "ray",
)  # fmt: skip
"""Fields that may differ between two starts of one job; model and input are compared by content instead."""


@dataclass(frozen=True, kw_only=True)
class RecaptionConfig:
    """Caption every row of some shards, or every file of a folder."""

    output_dir: Path
    """Sidecar folder: NNNNN.parquet and NNNNN_stats.json per shard."""
    model: Path
    """Captioner: a transformers LLaVA directory."""
    shards: str | None = None
    """Folder or URL of shards in img2dataset's layout; or give `images`."""
    images: Path | None = None
    """Folder of pictures of any kind, searched recursively; a file's key is its relative path."""
    prompt: str = PAPER_PROMPT
    """What the captioner is asked; by default the paper's prompt, word for word."""
    max_new_tokens: int = 128
    """Most tokens of a caption, as in the paper."""
    batch_size: int = 64
    """Images captioned together."""
    max_side_px: int = 1024
    """Longer side to which pictures are shrunk for models that cut them up themselves; a LLaVA gets its own square."""
    precision: Precision = "bf16"
    """Precision of the matrix products."""
    workers: int = 1
    """Processes side by side, one per core or device; results do not depend on it."""
    threads: int = 1
    """Threads of each worker; results may depend on it, so it is never the machine's count."""
    device: DeviceName = "auto"
    """Where the captioner runs; several workers share the visible GPUs evenly."""
    deterministic: bool = True
    """Sidecars equal byte for byte whatever the number of workers and whatever was killed: batches are fixed by the
    places of rows in their unit (captioner transformers; the others batch as rows come)."""
    engine: EngineConfig = field(default_factory=EngineConfig)
    executor: ExecutorName = "local"
    """Where workers run: processes of this machine, or captioners on a Ray cluster."""
    part: str = "0/1"
    """INDEX/COUNT: caption only this part of the job, counted from 0; others may run at the same time, anywhere that
    shares output_dir. For Slurm arrays and indexed jobs of Kubernetes."""
    ray: RayConfig = field(default_factory=RayConfig)
    images_per_unit: int = 256
    """Files of a folder that share one sidecar: one worker's work at a time, and what is lost when it is killed."""

    def __post_init__(self) -> None:
        if (self.shards is None) == (self.images is None):
            found = "neither" if self.shards is None else "both"
            raise UserError("one input is needed", where="shards, images", found=found, wanted="exactly one of them")
        for name in ("max_new_tokens", "batch_size", "max_side_px", "workers", "threads", "images_per_unit"):
            if getattr(self, name) < 1:
                raise UserError("out of range", where=name, found=getattr(self, name), wanted=">= 1")
        Part.parse(self.part)
        if self.images is not None and self.output_dir.resolve().is_relative_to(self.images.resolve()):
            what, wanted = "lies inside images, and would be captioned with them", "a folder outside"
            raise UserError(what, where="output_dir", found=str(self.output_dir), wanted=f"{wanted} {self.images}")
        if not self.prompt.strip():
            raise UserError("empty", where="prompt", found=self.prompt, wanted="a request to the captioner")


@dataclass(frozen=True, kw_only=True)
class StatusConfig:
    """Say how far a captioning job is, from its own folder alone."""

    output_dir: Path
    """Sidecar folder of the job."""
    json: bool = False
    """Print one JSON object instead of lines."""


@dataclass(frozen=True, kw_only=True)
class VerifyConfig:
    """Check a captioning job against its input."""

    output_dir: Path
    """Sidecar folder of the job."""
    threads: int = 4
    """Units checked side by side."""
    shards: str | None = None
    """Where the shards are now, if they moved since the job ran."""
    images: Path | None = None
    """Where the pictures are now, if they moved since the job ran."""

    def __post_init__(self) -> None:
        if self.threads < 1:
            raise UserError("out of range", where="threads", found=self.threads, wanted=">= 1")
