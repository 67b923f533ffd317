"""The run folder: what was asked, where it came from, what was measured, and whether it is finished."""

import fcntl
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from runtime import provenance
from runtime.atomic import is_partial, make_folder, remove_partials, write_json, write_text
from runtime.config import to_dict, to_yaml
from runtime.errors import UserError
from runtime.json_files import read_object
from runtime.launch import is_main_process
from runtime.patience import takes_lock
from runtime.yaml_files import read_mapping

NOT_IDENTITY = (
    "output_dir",
    "loop.device",
    "loop.wandb",
    "loop.checkpoint_every_updates",
    "loop.keep_last",
    "data.num_workers",
)
"""Fields that may change between two starts of one run: where and how often, never what."""

METRICS_FILE = "metrics.jsonl"
"""Averages over updates: the same bytes for the same config and data."""

SPEED_FILE = "speed.jsonl"
"""Rates and waiting times: different on every machine, hence a file of its own."""

REFUSED_FILE = "refused_updates.jsonl"
"""Updates that were not taken, and the samples that they would have been taken on."""

CACHE = "cache"
"""Folder inside a run's for what was found out about its inputs: made again whenever it is missing."""

_OPENING_FILES = frozenset({"config.yaml", "provenance.json", ".lock", CACHE})
"""All that a folder holds when its run ended before it made anything."""

_MISSING = "nothing"


class Run:
    """One output folder: config, provenance, metrics, progress, checkpoints, export, and the completion mark
    `done.json`.

    Build it with `Run.open`. Under several processes all may open it; only the main process writes.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any], identity: Mapping[str, Any]):
        self.folder = folder
        self.config = config
        self.config_sha256 = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        self.checkpoints = folder / "checkpoints"
        self.export = folder / "export"
        self._started = time.monotonic()
        self._seconds_before = float(self.progress().get("wall_seconds", 0.0))
        self._lock: TextIO | None = None

    @classmethod
    def open(cls, folder: Path, config: object, *, identity_excludes: Sequence[str] = NOT_IDENTITY) -> "Run":
        """Create or continue a run folder.

        A folder with results of another config is refused, naming the first field that differs; so is one that
        another process is writing to. Fields in `identity_excludes` (dotted) may differ. What killed processes left
        half written is removed.
        """
        folder = Path(folder)
        plain = to_dict(config)
        identity = _without(plain, identity_excludes)
        _refuse_other_config(folder / "config.yaml", identity, identity_excludes)
        run = cls(folder, plain, identity)
        if is_main_process() and not run.finished():
            make_folder(folder)
            run._lock = _lock(folder)
            _remove_litter(folder)
            write_text(folder / "config.yaml", to_yaml(config))
            starts = _read_json(folder / "provenance.json").get("starts", [])
            write_json(folder / "provenance.json", {"starts": [*starts, provenance.collect()]})
        return run

    def finished(self) -> bool:
        """Tell whether the run is complete: `done.json` exists."""
        return (self.folder / "done.json").exists()

    def facts(self) -> dict[str, Any]:
        """Return what `finish` recorded, empty while the run is unfinished."""
        return self.read("done.json")

    def finish(self, **facts: object) -> None:
        """Write the completion mark, last of all files: config hash, wall seconds over all starts, and the facts
        given.
        """
        if is_main_process():
            mark = {"config_sha256": self.config_sha256, "wall_seconds": round(self.wall_seconds(), 3), **facts}
            write_json(self.folder / "done.json", mark)

    def wall_seconds(self) -> float:
        """Return the seconds this run has taken over all its starts, as far as progress was recorded."""
        return self._seconds_before + time.monotonic() - self._started

    def progress(self) -> dict[str, Any]:
        """Return what `report_progress` last wrote, empty before that."""
        return self.read("progress.json")

    def read(self, name: str) -> dict[str, Any]:
        """Return a JSON file of the folder, empty when it is not there."""
        return _read_json(self.folder / name)

    def report_progress(self, **facts: object) -> None:
        """Write `progress.json`, which other processes may read at any moment."""
        if is_main_process():
            write_json(self.folder / "progress.json", {"wall_seconds": round(self.wall_seconds(), 3), **facts})


def _without(config: Mapping[str, Any], excluded: Sequence[str], prefix: str = "") -> dict[str, Any]:
    return {
        key: _without(value, excluded, f"{prefix}{key}.") if isinstance(value, Mapping) else value
        for key, value in config.items()
        if prefix + key not in excluded
    }


def _refuse_other_config(path: Path, wanted: Mapping[str, Any], excluded: Sequence[str]) -> None:
    if not path.exists() or _holds_nothing_made(path.parent):
        # A command that was refused for a mistyped path leaves its folder to the corrected one.
        return
    found = _without(read_mapping(path, "config of the run"), excluded)
    difference = _first_difference(found, wanted)
    if difference is not None:
        name, there, asked = difference
        raise UserError(
            f"this folder holds a run with another config, differing in {name!r}",
            where=path.parent,
            found=there,
            wanted=repr(asked),
            fix="Choose another output_dir, or delete the folder to start again.",
        )


def _holds_nothing_made(folder: Path) -> bool:
    return {entry.name for entry in folder.iterdir() if not is_partial(entry)} <= _OPENING_FILES


def _first_difference(
    found: Mapping[str, Any], wanted: Mapping[str, Any], prefix: str = ""
) -> tuple[str, Any, Any] | None:
    for key in [*wanted, *(key for key in found if key not in wanted)]:
        there, asked = found.get(key, _MISSING), wanted.get(key, _MISSING)
        if isinstance(there, Mapping) and isinstance(asked, Mapping):
            inner = _first_difference(there, asked, f"{prefix}{key}.")
            if inner is not None:
                return inner
        elif there != asked:
            return prefix + key, there, asked
    return None


def _lock(folder: Path) -> TextIO:
    # A POSIX record lock dies with its process, however it dies, and is not inherited by data workers.
    file = (folder / ".lock").open("w")
    try:
        taken = takes_lock(lambda: fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB))
    except OSError:
        # Some network file systems have no locks; the run itself does not need one.
        return file
    if not taken:
        raise UserError("another process is writing to this run", where=folder, fix="Wait for it, or stop it.")
    return file


def _remove_litter(folder: Path) -> None:
    """Delete unfinished files of killed processes in a run's folder and those directly in it, such as `export`."""
    for place in (folder, *(entry for entry in folder.iterdir() if entry.is_dir())):
        remove_partials(place)


def _read_json(path: Path) -> dict[str, Any]:
    return read_object(path) if path.exists() else {}
