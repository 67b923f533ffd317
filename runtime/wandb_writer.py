"""Metrics to Weights & Biases, when it is wanted and installed."""

import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal


class WandbWriter:
    """Send metric lines to one wandb run; does nothing when off or when the package is missing.

    `offline` keeps the files in the run folder, for `wandb sync`. A resumed run continues the same wandb run.
    """

    def __init__(
        self, mode: Literal["off", "offline", "online"], folder: Path, config: Mapping[str, Any], identity: str
    ):
        self._run: Any = None
        if mode == "off":
            return
        if importlib.util.find_spec("wandb") is None:
            if mode == "online":
                print("wandb is not installed: metrics go to metrics.jsonl alone", file=sys.stderr)
            return
        import wandb

        self._run = wandb.init(
            project="openrecap",
            name=folder.name,
            id=identity[:16],
            resume="allow" if mode == "online" else None,
            mode=mode,
            dir=folder,
            config=dict(config),
            settings=wandb.Settings(silent=True, console="off", x_disable_stats=True, x_disable_meta=True),
        )

    def write(self, row: Mapping[str, int | float], update: int) -> None:
        """Send one line."""
        if self._run is not None:
            self._run.log(dict(row), step=update)

    def show(self, pictures: Mapping[str, Path], update: int) -> None:
        """Send pictures from files."""
        if self._run is not None and pictures:
            import wandb

            self._run.log({name: wandb.Image(str(path)) for name, path in pictures.items()}, step=update)

    def close(self) -> None:
        """Finish the wandb run."""
        if self._run is not None:
            self._run.finish()
