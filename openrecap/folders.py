"""Where a preset's files lie. One place says it; the README's tree of `runs/` is this."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Folders:
    """The folders of one preset below `runs/`."""

    root: Path

    @property
    def data(self) -> Path:
        """The built miniature web."""
        return self.root / "data"

    @property
    def foundation(self) -> Path:
        """The CLIP that captioner and diffusion transformer start from."""
        return self.root / "foundation"

    @property
    def judges(self) -> Path:
        """The judges of generated images."""
        return self.root / "eval" / "judges"

    @property
    def results(self) -> Path:
        """Every measured row of the preset."""
        return self.root / "results.jsonl"

    @property
    def logs(self) -> Path:
        """What each job printed."""
        return self.root / "logs"

    @property
    def marks(self) -> Path:
        """Completion marks of the runner."""
        return self.root / ".done"

    def run(self, stage: str, name: str) -> Path:
        """The run folder of one captioner, sidecar set, CLIP or diffusion transformer."""
        return self.root / stage / name

    def evaluation(self, stage: str, name: str) -> Path:
        """The evaluation folder of one run."""
        return self.root / "eval" / stage / name
