"""A captioning job's folder: what it was started with, which units are done, and when it is complete.

The folder holds a sidecar per unit (`NNNNN.parquet`, then `NNNNN_stats.json`), `job/manifest.json` with the identities
that all of them share, and, last of all, `done.json`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from imagetext.sidecars import is_complete, read_mark
from recaption.captioners.identity import identify_prompt
from recaption.captioners.transformers_captioner import identify_captioner
from recaption.config import RecaptionConfig
from recaption.inputs.units import Unit, list_folder_units, list_shard_units
from runtime.atomic import write_json
from runtime.errors import UserError
from runtime.json_files import read_object

# img2dataset reads every JSON file at the root of a shard folder as a shard's stats, so ours lies one level deeper.
MANIFEST = Path("job") / "manifest.json"


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Identities that may not change while a job is continued."""

    captioner_id: str
    prompt_id: str
    prompt: str
    units: dict[str, str]
    """Fingerprint of each unit's input, by name."""


def list_units(config: RecaptionConfig) -> Sequence[Unit]:
    """Return the units of a job's input, in order."""
    if config.images is not None:
        return list_folder_units(config.images, config.images_per_unit)
    assert config.shards is not None
    return list_shard_units(config.shards)


def open_manifest(config: RecaptionConfig, units: Sequence[Unit]) -> Manifest:
    """Write the job's manifest, or check that the one found there belongs to this captioner, prompt and input.

    Raises UserError naming what differs: the captions of two captioners are never mixed in one folder.
    """
    wanted = Manifest(
        captioner_id=identify_captioner(config),
        prompt_id=identify_prompt(config.prompt),
        prompt=config.prompt,
        units={unit.name: unit.fingerprint for unit in units},
    )
    path = config.output_dir / MANIFEST
    if path.exists():
        found = read_manifest(config.output_dir)
        # A job that was refused before its first caption leaves its folder to the corrected one.
        if any(is_complete(config.output_dir, name) for name in found.units):
            _refuse_other(found, wanted, config.output_dir)
    write_json(path, vars(wanted))
    return wanted


def read_manifest(folder: Path) -> Manifest:
    """Read a job's manifest; raises UserError where there is no job."""
    path = folder / MANIFEST
    if not path.exists():
        raise UserError("no captioning job here", where=folder, found=f"no {MANIFEST}", fix="Check --output_dir.")
    names = [field.name for field in fields(Manifest)]
    manifest = read_object(path, *names)
    return Manifest(**{name: manifest[name] for name in names})


def pending(folder: Path, units: Sequence[Unit]) -> list[Unit]:
    """Return the units whose sidecar is not finished."""
    return [unit for unit in units if not is_complete(folder, unit.name)]


def count_statuses(folder: Path, names: Sequence[str]) -> Counter[str]:
    """Return the number of finished rows by status, read from the completion marks alone."""
    statuses: Counter[str] = Counter()
    for name in names:
        if is_complete(folder, name):
            statuses.update(read_mark(folder, name)["status_dict"])
    return statuses


def _refuse_other(found: Manifest, wanted: Manifest, folder: Path) -> None:
    fix = "Choose another output_dir, or delete the folder to start again."
    comparisons = {
        "these captions are another captioner's": (found.captioner_id, wanted.captioner_id),
        "these captions answer another prompt": (found.prompt, wanted.prompt),
        **{
            f"the input of unit {name} changed": (fingerprint, wanted.units.get(name, fingerprint))
            for name, fingerprint in found.units.items()
        },
    }
    for what, (there, asked) in comparisons.items():
        if there != asked:
            raise UserError(what, where=folder, found=there, wanted=asked, fix=fix)
