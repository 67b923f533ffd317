"""What drawing pictures from a file of prompts can be told."""

from dataclasses import dataclass, field
from pathlib import Path

from dit_train.sampling_config import SamplingConfig
from runtime.device_name import DeviceName
from runtime.errors import UserError


@dataclass(frozen=True, kw_only=True)
class SampleConfig:
    """Draw pictures from prompts."""

    pipeline: Path
    """Exported folder of a finished training run (`R/export`)."""
    prompts: Path
    """Text file with a prompt a line, numbered from 0; or JSON lines with `prompt` and, if wanted, `id` or `key`."""
    out: Path
    """Folder for pictures, contact sheet and manifest; what is drawn already stays."""
    images_per_prompt: int = 1
    """Pictures of each prompt, from different noise."""
    seed: int = 0
    """Seed of the noise; with a prompt's id it decides on its picture."""
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    """How pictures are drawn."""
    threads: int = 1
    """Threads of torch on a CPU."""
    device: DeviceName = "auto"
    """Where to draw."""

    def __post_init__(self) -> None:
        for name, value in (("images_per_prompt", self.images_per_prompt), ("threads", self.threads)):
            if value < 1:
                raise UserError("out of range", where=name, found=value, wanted="1 or more")
