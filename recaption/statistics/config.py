"""What `python -m recaption statistics` is told."""

from dataclasses import dataclass, field
from pathlib import Path

from recaption.input_config import MovedInput
from runtime.device_name import DeviceName
from runtime.errors import UserError


@dataclass(frozen=True, kw_only=True)
class StatisticsConfig:
    """Measure the captions of a run, finished or not, beside the captions that its rows came with."""

    recaptions: Path
    """Folder of a `run` or an `import`."""
    column: str = "re_caption"
    """Sidecar column of the new captions."""
    rows_max: int = 200_000
    """Rows to count words of: whole sidecars, drawn evenly, until there are as many. 200,000 take about two minutes."""
    scorers: dict[str, Path] = field(default_factory=dict)
    """Models to score captions with, by the name to print: open_clip directories, such as one of CLIP ViT-L/14 and one
    of a CLIP for long texts."""
    scored_rows: int = 2_000
    """Rows to score: pictures are read for them."""
    batch_size: int = 64
    """Pictures or captions encoded together."""
    device: DeviceName = "auto"
    """Where scorers run."""
    seed: int = 0
    """What draws rows."""
    output_dir: Path | None = None
    """Folder for statistics.md and statistics.json; left out, job/statistics inside `recaptions`."""
    json: bool = False
    """Print one JSON object instead of Markdown."""
    input: MovedInput = field(default_factory=MovedInput)
    """Where the pictures are, if they moved since the run, or if the captions were imported."""

    def __post_init__(self) -> None:
        for name in ("rows_max", "scored_rows", "batch_size"):
            if getattr(self, name) < 1:
                raise UserError("out of range", where=name, found=getattr(self, name), wanted=">= 1")
