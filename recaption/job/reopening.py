"""A finished run found again: its config and its input, wherever that is now."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from recaption.config import RecaptionConfig
from recaption.input_config import INPUT_PLACES, MovedInput
from recaption.inputs.opening import open_units
from recaption.inputs.shard_units import list_shard_units
from recaption.inputs.units import Unit
from recaption.job.folder import CONFIG
from recaption.job.marks import finished_names
from runtime.config import load
from runtime.errors import UserError


def saved_config(folder: Path, moved: Mapping[str, object]) -> RecaptionConfig | None:
    """Return what a run was told, with the places in `moved` that are not None; None for captions of another origin.

    Raises UserError for a folder that is not there.
    """
    if not folder.is_dir():
        raise UserError("no such folder", where=folder, fix="Give the folder of a run or an import.")
    path = folder / CONFIG
    if not path.exists():
        return None
    places = [f"--{name}={moved[name]}" for name in INPUT_PLACES if moved.get(name) is not None]
    return load(RecaptionConfig, path, overrides=[f"--output_dir={folder}", "--part=0/1", *places])


def input_of(folder: Path, moved: MovedInput) -> Sequence[Unit]:
    """Return the units that a run or an import has captions of, finished or not.

    Raises UserError for imported captions without `moved.shards`, and as `open_units` does.
    """
    config = saved_config(folder, vars(moved))
    if config is not None:
        return open_units(config)
    if moved.shards is None:
        fix = "Give --input.shards, the shards that the captions are of"
        raise UserError("no config.yaml says what was captioned", where=folder, fix=fix)
    return list_shard_units(moved.shards)


def finished_of(folder: Path) -> list[str]:
    """Return the names of a run's finished units, sorted; raise UserError where there are none."""
    names = sorted(finished_names(folder)) if folder.is_dir() else []
    if not names:
        fix = "Give the folder of a run or an import."
        raise UserError("no finished captions", where=folder, wanted="NNNNN_stats.json files", fix=fix)
    return names
