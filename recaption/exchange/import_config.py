"""What `python -m recaption import` is told."""

from dataclasses import dataclass
from pathlib import Path

from runtime.errors import UserError


@dataclass(frozen=True, kw_only=True)
class ImportConfig:
    """Make sidecars for one's own shards of the captions published as Recap-DataComp-1B."""

    output_dir: Path
    """Sidecar folder: NNNNN.parquet and NNNNN_stats.json per shard."""
    shards: str
    """Folder or URL of one's own shards, whose parquets record each picture's sha256."""
    published: str
    """Folder or URL of the published parquet files, searched recursively; both configurations may lie there."""
    shards_per_pass: int = 2048
    """Own shards whose digests are in memory at once: the published files are read once for each so many. While they
    are sorted they take about 120 bytes a row, 2.5 GB for 2048 shards of 10,000 rows."""
    shards_in_memory: int = 64
    """Own shards whose captions are in memory at once, at about 1 kB a row."""

    def __post_init__(self) -> None:
        for name in ("shards_per_pass", "shards_in_memory"):
            if getattr(self, name) < 1:
                raise UserError("out of range", where=name, found=getattr(self, name), wanted=">= 1")
