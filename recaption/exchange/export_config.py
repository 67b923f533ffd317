"""What `python -m recaption export` is told."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from recaption.input_config import MovedInput
from recaption.inputs.units import SUCCESS
from runtime.errors import UserError


@dataclass(frozen=True, kw_only=True)
class ExportConfig(MovedInput):
    """Join finished captions with their pictures, as a data set that others read."""

    output_dir: Path
    """Folder of the new data set."""
    recaptions: Path
    """Folder of a finished `run` or `import`."""
    format: Literal["webdataset", "huggingface"]
    """webdataset: NNNNN.tar with NNNNN.parquet and NNNNN_stats.json, as img2dataset writes them. huggingface: parquet
    files and a data set card, which `datasets.load_dataset(folder)` opens."""
    captions: Literal["original", "recaption", "mix"] = "recaption"
    """Which caption a picture gets; a mix draws for each row between original and recaption."""
    original_share: float = 0.5
    """Share of original captions in a mix, in [0, 1]."""
    seed: int = 0
    """Seed of a mix."""
    caption_column: str = "re_caption"
    """Sidecar column that the recaption is taken from, such as re_caption_short."""
    statuses: list[str] = field(default_factory=lambda: [SUCCESS])
    """Rows of these statuses are taken; one without a picture never is."""
    without_flags: list[str] = field(default_factory=list)
    """Rows with one of these flags are left out."""
    with_pictures: bool = True
    """Whether pictures go into a huggingface data set, or captions and urls alone; shards always hold pictures."""
    name: str = "recaptions"
    """Name of the data set, for its card and for the draws of a mix."""
    license: str | None = None
    """Licence to put on the card; yours to choose, since pictures and captions may come under several."""
    workers: int = 1
    """Processes side by side; the data set does not depend on their number."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.original_share <= 1.0:
            raise UserError("out of range", where="original_share", found=self.original_share, wanted="[0, 1]")
        if self.workers < 1:
            raise UserError("out of range", where="workers", found=self.workers, wanted=">= 1")
        if not self.statuses:
            raise UserError("empty", where="statuses", found=self.statuses, wanted="at least one status")
        if self.format == "webdataset" and not self.with_pictures:
            raise UserError("shards always hold pictures", where="with_pictures", found="false with format webdataset")
        if self.output_dir.resolve() == self.recaptions.resolve():
            raise UserError("the captions themselves lie there", where="output_dir", found=str(self.output_dir))
