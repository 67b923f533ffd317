"""Units of Hugging Face data sets on disk or by URL: saved by `save_to_disk`, or folders of parquet or Arrow files.

Nothing of the `datasets` library is needed to read them: a saved data set names its Arrow streams in `state.json`, one
of several splits names these in `dataset_dict.json`; other folders say a file's split by its name or folder.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from imagetext import files
from recaption.inputs.table_columns import ColumnsConfig
from recaption.inputs.table_files import SUFFIXES
from recaption.inputs.table_units import TableUnit, units_of_files
from runtime.errors import UserError
from runtime.json_files import parse_object

_SPLITS_FILE = "dataset_dict.json"
_STATE_FILE = "state.json"
_NUMBERED = re.compile(r"(?P<split>.+?)-\d{5}-of-\d{5}(-[0-9a-f]+)?\.\w+")
_DATA_FOLDER = "data"
_ONLY_SPLIT = "train"

Located = tuple[str, str]
"""Place and name of a file."""


def list_dataset_units(location: str, split: str | None, rows_per_unit: int, columns: ColumnsConfig) -> list[TableUnit]:
    """Return the units of a data set, split by split, named `<split>-NNNNN`; of one split alone when it is named.

    Raises UserError for a place without a data set, a split that it does not have, and as `units_of_files` does.
    """
    splits = _splits(location)
    if split is not None and split not in splits:
        wanted = f"one of {', '.join(splits)}"
        raise UserError("data set has no such split", where=f"{location}: split", found=split, wanted=wanted)
    chosen = splits if split is None else {split: splits[split]}
    return [
        unit
        for name, located in chosen.items()
        for unit in units_of_files(located, rows_per_unit, columns, prefix=f"{name}-")
    ]


def _splits(location: str) -> Mapping[str, Sequence[Located]]:
    names = files.list_names(location)
    if _SPLITS_FILE in names:
        where = files.join(location, _SPLITS_FILE)
        splits = parse_object(files.read_bytes(where), where, "splits")["splits"]
        return {split: _saved(files.join(location, split), f"{split}/") for split in splits}
    if _STATE_FILE in names:
        return {_ONLY_SPLIT: _saved(location, "")}
    found: dict[str, list[Located]] = {}
    for path in files.list_tree(location):
        if path.endswith(SUFFIXES):
            found.setdefault(_split_of(PurePosixPath(path)), []).append((files.join(location, path), path))
    if not found:
        wanted = f"{_SPLITS_FILE}, {_STATE_FILE}, or files *.parquet or *.arrow"
        raise UserError("folder holds no data set", where=location, wanted=wanted)
    return found


def _saved(folder: str, label: str) -> list[Located]:
    """Return the files of one saved split; others that lie there are caches."""
    where = files.join(folder, _STATE_FILE)
    data_files = parse_object(files.read_bytes(where), where, "_data_files")["_data_files"]
    return [(files.join(folder, file["filename"]), f"{label}{file['filename']}") for file in data_files]


def _split_of(path: PurePosixPath) -> str:
    """Return the split that a file belongs to, a configuration's folder before it: `train`, `en-train`."""
    numbered = _NUMBERED.fullmatch(path.name)
    folders = [part for part in path.parent.parts if part != _DATA_FOLDER]
    if numbered is not None:
        return "-".join([*folders, numbered["split"]])
    return "-".join(folders) or _ONLY_SPLIT
