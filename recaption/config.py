"""What the verbs of `python -m recaption` are told."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from imagetext.conversations import PAPER_PROMPT
from recaption.captioner_config import CaptionerName, OpenAIConfig, VllmConfig
from recaption.engine_config import EngineConfig
from recaption.executors.partition import Part
from recaption.input_config import INPUT_PLACES, InputConfig, MovedInput, check_one_input, refuse_part_as_shards
from recaption.job_config import ExecutorName, RayConfig, check_output_dir
from recaption.named_prompts import check_prompts
from recaption.quality.config import CanaryConfig, ClipScoreConfig, DriftConfig, RepairConfig
from runtime.device_name import DeviceName
from runtime.errors import UserError

Precision = Literal["fp32", "bf16"]

PLACES_AND_WORKERS = (
    "output_dir", "model", *INPUT_PLACES, "workers", "device", "engine", "executor", "part", "ray", "intake",
    "openai", "vllm", "canary", "drift", "clip_score.model",
)  # fmt: skip
"""Fields that may differ between two starts of one job; model and input are compared by content instead."""


@dataclass(frozen=True, kw_only=True)
class RecaptionConfig(InputConfig):
    """Caption every row of an input: shards, a folder, tables, a data set, or conversations."""

    output_dir: Path
    """Sidecar folder: NNNNN.parquet and NNNNN_stats.json per shard. A path, mounted on every machine that captions, as
    inputs need not be."""
    model: Path
    """Captioner: a directory of any vision-language model that the captioner serves, or its name on the Hub. Captioner
    openai also takes a name that only its servers know."""
    captioner: CaptionerName = "transformers"
    """What runs the model: transformers or vLLM in the process, or servers that speak OpenAI's protocol."""
    intake: Path | None = None
    """Folder of `intake`, of the same input: duplicates are captioned once, unwanted rows not at all."""
    prompt: str = PAPER_PROMPT
    """What the captioner is asked: a text, in which {alt_text} stands for the row's own caption, or a name: @paper (the
    default, word for word), @conditioned (knows the row's own caption; sampled), @knowledge (takes over names from it),
    @short, @detailed."""
    more_prompts: dict[str, str] = field(default_factory=dict)
    """Further captions of each picture in the same pass: a prompt by the ending of its column re_caption_ENDING."""
    temperature: float | None = None
    """Temperature of all prompts' sampling, 0 for none; left out, each prompt's own (only @conditioned samples)."""
    top_k: int | None = None
    """Likeliest tokens to draw from, by their probabilities; left out, 50."""
    seed: int = 0
    """What draws depend on, with the row's key and the prompt."""
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
    script: str = "LATIN"
    """Script that captions are wanted in, as Unicode's names of letters begin: LATIN, CYRILLIC, ARABIC, HANGUL."""
    repair: RepairConfig = field(default_factory=RepairConfig)
    clip_score: ClipScoreConfig = field(default_factory=ClipScoreConfig)
    canary: CanaryConfig = field(default_factory=CanaryConfig)
    drift: DriftConfig = field(default_factory=DriftConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    openai: OpenAIConfig = field(default_factory=OpenAIConfig)
    vllm: VllmConfig = field(default_factory=VllmConfig)
    executor: ExecutorName = "local"
    """Where workers run: processes of this machine, or captioners on a Ray cluster."""
    part: str = "0/1"
    """INDEX/COUNT: caption only this part of the job, counted from 0; others may run at the same time, anywhere that
    shares output_dir. For Slurm arrays and indexed jobs of Kubernetes."""
    ray: RayConfig = field(default_factory=RayConfig)

    def __post_init__(self) -> None:
        check_output_dir(self.output_dir)
        check_one_input(vars(self))
        refuse_part_as_shards(self.shards)
        for name in ("max_new_tokens", "batch_size", "max_side_px", "workers", "threads", "images_per_unit"):
            if getattr(self, name) < 1:
                raise UserError("out of range", where=name, found=getattr(self, name), wanted=">= 1")
        Part.parse(self.part)
        if self.images is not None and self.output_dir.resolve().is_relative_to(self.images.resolve()):
            what, wanted = "lies inside images, and would be captioned with them", "a folder outside"
            raise UserError(what, where="output_dir", found=str(self.output_dir), wanted=f"{wanted} {self.images}")
        check_prompts(self.prompt, self.more_prompts, self.temperature, self.top_k)


@dataclass(frozen=True, kw_only=True)
class StatusConfig:
    """Say how far a captioning job is, from its own folder alone."""

    output_dir: Path
    """Sidecar folder of the job."""
    json: bool = False
    """Print one JSON object instead of lines."""

    def __post_init__(self) -> None:
        check_output_dir(self.output_dir)


@dataclass(frozen=True, kw_only=True)
class VerifyConfig(MovedInput):
    """Check a captioning job against its input."""

    output_dir: Path
    """Sidecar folder of the job."""
    threads: int = 4
    """Units checked side by side."""

    def __post_init__(self) -> None:
        check_output_dir(self.output_dir)
        if self.threads < 1:
            raise UserError("out of range", where="threads", found=self.threads, wanted=">= 1")
