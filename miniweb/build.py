"""Build a small web: every piece once, side by side, then the card, then the manifest."""

import json
import sys
from functools import partial
from pathlib import Path

from tqdm import tqdm

from miniweb.card import write_card
from miniweb.config import MiniwebConfig
from miniweb.manifest import identity, summarise, types_before_filter
from miniweb.units import build_unit, list_units, read_mark
from runtime.atomic import remove_partials, write_json
from runtime.errors import UserError
from runtime.json_files import read_object
from runtime.side_by_side import finish_side_by_side

MANIFEST = "manifest.json"
_IDENTITY = "config.json"


def build(config: MiniwebConfig) -> dict[str, object]:
    """Build into `config.output_dir` whatever is not there yet, and return the manifest.

    Raises:
        UserError: when the folder holds a web of another config.
    """
    folder = config.output_dir
    claim_folder(folder, config)
    if (folder / MANIFEST).exists():
        return read_object(folder / MANIFEST)
    for left_over in {path.parent for path in folder.rglob("*.partial*")}:
        remove_partials(left_over)
    missing = [unit for unit in list_units(config) if read_mark(folder, unit) is None]
    built = finish_side_by_side(missing, partial(build_unit, config), num_workers=config.processes)
    for unit in tqdm(built, total=len(missing), desc="miniweb", unit="piece", disable=None):
        if not sys.stderr.isatty():
            print(f"miniweb: {unit.name} done", flush=True)
    marks = [mark for unit in list_units(config) if (mark := read_mark(folder, unit)) is not None]
    manifest = summarise(config, marks)
    write_card(folder, config.web.alt_text, types_before_filter(marks))
    write_json(folder / MANIFEST, manifest)
    return manifest


def claim_folder(folder: Path, config: MiniwebConfig) -> None:
    """Write the config that a folder is built from, or compare with the one it was begun with."""
    path = folder / _IDENTITY
    wanted = json.loads(json.dumps(identity(config)))
    if not path.exists():
        write_json(path, wanted)
        return
    found = read_object(path)
    for name in dict.fromkeys([*_flat(found), *_flat(wanted)]):
        old, new = _flat(found).get(name), _flat(wanted).get(name)
        if old != new:
            fix = "Choose another output_dir, or remove the folder"
            raise UserError(f"folder holds a web of another {name}", where=folder, found=old, wanted=new, fix=fix)


def _flat(tree: dict[str, object], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for name, value in tree.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat
