"""What `python -m recaption coverage` is told."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class CoverageConfig:
    """Say what an import of the published captions came to: dead links, unmatched digests, captions of each version."""

    recaptions: Path
    """Folder of a finished `import`."""
    output_dir: Path | None = None
    """Folder for coverage.md and coverage.json; left out, job/coverage inside `recaptions`."""
    json: bool = False
    """Print one JSON object instead of Markdown."""
