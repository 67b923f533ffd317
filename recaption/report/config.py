"""What `report` is told."""

from dataclasses import dataclass, field
from pathlib import Path

from recaption.input_config import MovedInput
from runtime.errors import UserError


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """Write the page of a run, as HTML that fetches nothing and as Markdown."""

    recaptions: Path
    """Folder of a `run` or an `import`."""
    output_dir: Path | None = None
    """Folder for report.html and report.md; left out, job/report inside `recaptions`."""
    rows_max: int = 50_000
    """Rows whose captions are read: whole sidecars, drawn evenly, until there are as many. Counts are of all rows."""
    pictures: int = 16
    """Pictures shown with what was said of them before and after."""
    worst: int = 16
    """Rows shown of those with the worst captions."""
    seed: int = 0
    """What draws rows."""
    input: MovedInput = field(default_factory=MovedInput)
    """Where the pictures are, if they moved since the run, or if the captions were imported."""

    def __post_init__(self) -> None:
        for name, least in (("rows_max", 1), ("pictures", 0), ("worst", 0)):
            if getattr(self, name) < least:
                raise UserError("out of range", where=name, found=getattr(self, name), wanted=f">= {least}")
