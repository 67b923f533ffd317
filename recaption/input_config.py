"""What a job may be given to caption: exactly one kind of input, and what belongs to that kind alone."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from recaption.inputs.table_columns import ColumnsConfig
from runtime.errors import UserError

INPUT_KINDS = ("shards", "images", "table", "dataset", "conversations")
"""Fields of which exactly one is given."""
INPUT_PLACES = (*INPUT_KINDS, "pictures")
"""Fields that say where an input lies, which may change between two starts of a job: content is compared instead."""
_BELONGS_TO = {"split": "dataset", "pictures": "conversations"}


@dataclass(frozen=True, kw_only=True)
class InputConfig:
    """Say what goes in: exactly one of shards, a folder, tables, a data set, or conversations."""

    output_dir: Path
    """Folder that is written; an index of what goes in may be kept below it."""
    shards: str | None = None
    """Folder or URL of shards in img2dataset's layout; or give `images`."""
    images: Path | None = None
    """Folder of pictures of any kind, searched recursively; a file's key is its relative path."""
    table: str | None = None
    """File, or folder or URL of files, *.parquet or *.arrow: a row per picture, as bytes or as a path or URL."""
    dataset: str | None = None
    """Hugging Face data set: a folder or URL written by save_to_disk, or one of parquet files as on the hub."""
    split: str | None = None
    """Split of `dataset` to caption; null captions all."""
    conversations: Path | None = None
    """LLaVA conversation file, .json or .jsonl: a row per record, about the picture that it names."""
    pictures: Path | None = None
    """Folder that the image names of `conversations` are relative to, or that holds shards of these pictures."""
    columns: ColumnsConfig = field(default_factory=ColumnsConfig)
    images_per_unit: int = 256
    """Files of a folder, rows of a table (whole row groups) or records of conversations that share one sidecar: one
    worker's work at a time, and what is lost when it is killed. Shards are units as they are."""


@dataclass(frozen=True, kw_only=True)
class MovedInput:
    """Where the input of a run is now, as far as it is not where the run found it."""

    shards: str | None = None
    """Folder or URL of the shards; captions that were imported know of none."""
    images: Path | None = None
    """Folder of the pictures."""
    table: str | None = None
    """The tables."""
    dataset: str | None = None
    """The data set."""
    conversations: Path | None = None
    """The conversations."""
    pictures: Path | None = None
    """The conversations' pictures."""


def check_one_input(fields: Mapping[str, object]) -> None:
    """Refuse fields of a config without an input or with several, and those of an input that it does not have."""
    given = [name for name in INPUT_KINDS if fields[name] is not None]
    if len(given) != 1:
        found = "none" if not given else "both" if len(given) == 2 else ", ".join(given)
        where = ", ".join(given or INPUT_KINDS)
        raise UserError("one input is needed", where=where, found=found, wanted="exactly one of them")
    for name, kind in _BELONGS_TO.items():
        if fields[name] is not None and kind != given[0]:
            raise UserError(f"goes with {kind} alone", where=name, found=f"{name} with {given[0]}")
    if given == ["conversations"] and fields["pictures"] is None:
        fix = "Give the folder that the records' image names are relative to"
        raise UserError("conversations need their pictures", where="pictures", found="nothing", fix=fix)


def refuse_part_as_shards(shards: str | None) -> None:
    """Refuse `--shards 3/16`: which part of a job is captioned is said by `part`."""
    if shards is not None and re.fullmatch(r"\d+/\d+", shards) and not Path(shards).exists():
        fix = f"Add --part {shards} to --shards FOLDER"
        raise UserError("a part of a job is no input", where="shards", found=shards, wanted="a folder or URL", fix=fix)
