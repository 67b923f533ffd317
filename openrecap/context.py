"""What the builders of jobs share: the declared runs, the folders, the config files and how arguments are spelled."""

from dataclasses import dataclass
from pathlib import Path

from eval.registry import Experiments
from openrecap.folders import Folders


@dataclass(frozen=True, kw_only=True)
class Context:
    """One preset: its runs, its folders, its config files."""

    experiments: Experiments
    at: Folders
    configs: Path

    def config(self, folder: str, prefix: str = "") -> Path:
        """Return the preset's config file of a stage."""
        return self.configs / folder / f"{prefix}{self.experiments.preset}.yaml"


def spell(module: str, **flags: object) -> tuple[str, ...]:
    """Spell `-m module verb --flag value ...`, as it follows `python`."""
    spelled = [part for name, value in flags.items() for part in (f"--{name}", str(value))]
    return ("-m", *module.split(), *spelled)
