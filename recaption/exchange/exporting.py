"""Export finished captions joined with their pictures; a stopped export goes on with the units that are missing."""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagetext.parquet import read_schema, rows_of
from imagetext.sidecars import read_mark, read_sidecar_table, sidecar_fingerprint
from recaption.config import RecaptionConfig
from recaption.exchange.dataset_card import CardFacts, write_card
from recaption.exchange.export_config import ExportConfig
from recaption.exchange.hugging_face_export import DATA, data_schema, split_of, write_parquet
from recaption.exchange.webdataset_export import is_written, tar_name, write_tar
from recaption.input_config import INPUT_PLACES
from recaption.inputs.opening import open_units
from recaption.inputs.shard_units import list_shard_units
from recaption.inputs.units import Unit
from recaption.job.reopening import saved_config
from runtime.atomic import make_folder, remove_partials, write_json, write_text
from runtime.config import to_dict
from runtime.errors import UserError
from runtime.json_files import read_object
from runtime.progress import Progress
from runtime.side_by_side import finish_side_by_side

if TYPE_CHECKING:
    import pyarrow

WORK = ".export"
"""Folder inside the data set for what was exported so far; readers of data sets pass over hidden ones."""
CARD = "README.md"
_PLACES = (*INPUT_PLACES, "output_dir", "recaptions", "workers")
"""Fields that may differ between two starts of one export."""


def export(config: ExportConfig) -> dict[str, int]:
    """Write the data set and return the rows by what became of them; a finished export returns at once.

    Raises:
        UserError: for captions that are not finished, an input that is not the one captioned, a folder that holds
            another export.
    """
    captioning = saved_config(config.recaptions, to_dict(config))
    units = _units(config, captioning)
    _check(config, units)
    work = make_folder(config.output_dir / WORK)
    for folder in (config.output_dir, config.output_dir / DATA, work):
        remove_partials(folder)
    numbered = list(enumerate(units))
    missing = [(number, unit) for number, unit in numbered if not _is_exported(config, number, unit)]
    do = partial(_export_tar, config) if config.format == "webdataset" else _parquet_export(config, units)
    with Progress(total=len(units), initial=len(units) - len(missing), unit="units", label="export") as progress:
        for _, unit in finish_side_by_side(missing, do, num_workers=config.workers):
            progress.advance(1)
            progress.show({"unit": unit.name})
    counts = _counts(config, units)
    if config.format == "huggingface":
        _write_card(config, captioning, units)
    return counts


def _units(config: ExportConfig, captioning: RecaptionConfig | None) -> Sequence[Unit]:
    if captioning is not None:
        return open_units(captioning)
    if not any(config.recaptions.glob("*_stats.json")):
        wanted = "the folder of a finished run or import"
        raise UserError("no captions here", where=config.recaptions, found="no NNNNN_stats.json", wanted=wanted)
    if config.shards is None:
        fix = "Give the shards that the captions are of"
        raise UserError("no config.yaml says what was captioned", where=config.recaptions, fix=fix)
    return list_shard_units(config.shards)


def _check(config: ExportConfig, units: Sequence[Unit]) -> None:
    """Refuse unfinished captions, and a folder that was begun otherwise."""
    finished = {path.name for path in config.recaptions.glob("*_stats.json")}
    waiting = [unit.name for unit in units if f"{unit.name}_stats.json" not in finished]
    if waiting:
        found = f"{len(waiting)} of {len(units)} units missing, such as {waiting[0]}"
        raise UserError("captions are not finished", where=config.recaptions, found=found, fix="Finish the run first.")
    asked = {name: value for name, value in to_dict(config).items() if name not in _PLACES}
    # Of the captions themselves the first unit's stand for all: a run mixes no captioners.
    first = sidecar_fingerprint(config.recaptions, units[0].name)
    plan = {**asked, "num_units": len(units), "captions_of_first_unit": first}
    path, fix = config.output_dir / WORK / "plan.json", "Choose another output_dir, or delete the folder."
    if path.exists():
        begun = read_object(path)
        differing = next((name for name in plan if begun.get(name) != plan[name]), None)
        if differing is not None:
            what, there = f"this folder holds another export, differing in {differing!r}", begun.get(differing)
            raise UserError(what, where=config.output_dir, found=there, wanted=plan[differing], fix=fix)
    elif config.output_dir.exists() and any(config.output_dir.iterdir()):
        raise UserError("folder is not empty", where=config.output_dir, fix=fix)
    else:
        make_folder(path.parent)
        write_json(path, plan)


def _export_tar(config: ExportConfig, item: tuple[int, Unit]) -> None:
    number, unit = item
    write_tar(unit, number, _sidecar(config, unit), config)


def _parquet_export(config: ExportConfig, units: Sequence[Unit]) -> Any:
    schemas = [read_schema(config.recaptions / f"{unit.name}.parquet") for unit in units]
    # Schemas are alike but where a unit has no value of a column: a thousand of them are a few.
    schema = data_schema(dict.fromkeys(schemas), config)
    return partial(_export_parquet, config, schema, _places(units))


def _export_parquet(
    config: ExportConfig, schema: "pyarrow.Schema", places: Mapping[str, str], item: tuple[int, Unit]
) -> None:
    number, unit = item
    place = config.output_dir / DATA / places[unit.name]
    counts = write_parquet(unit, place, schema, _sidecar(config, unit), config)
    write_json(_mark(config, number), {"status_dict": counts})


def _places(units: Sequence[Unit]) -> dict[str, str]:
    """Return the file's name for each unit's: numbered within its split, as on the hub."""
    totals, numbers, places = Counter(split_of(unit) for unit in units), Counter[str](), dict[str, str]()
    for unit in units:
        split = split_of(unit)
        places[unit.name] = f"{split}-{numbers[split]:05d}-of-{totals[split]:05d}.parquet"
        numbers[split] += 1
    return places


def _sidecar(config: ExportConfig, unit: Unit) -> list[dict[str, Any]]:
    table = read_sidecar_table(config.recaptions, unit.name)
    if config.caption_column not in table.schema.names:
        where = config.recaptions / f"{unit.name}.parquet"
        found, wanted = config.caption_column, f"one of {', '.join(table.schema.names)}"
        raise UserError("sidecar has no such column", where=f"{where}: caption_column", found=found, wanted=wanted)
    return rows_of(table)


def _is_exported(config: ExportConfig, number: int, unit: Unit) -> bool:
    if config.format == "webdataset":
        return is_written(config.output_dir, unit, number)
    return _mark(config, number).exists()


def _mark(config: ExportConfig, number: int) -> Path:
    return config.output_dir / WORK / f"unit-{number:08d}.json"


def _unit_counts(config: ExportConfig, number: int, unit: Unit) -> Mapping[str, int]:
    if config.format == "huggingface":
        return dict(read_object(_mark(config, number))["status_dict"])
    return dict(read_mark(config.output_dir, tar_name(unit, number))["status_dict"])


def _counts(config: ExportConfig, units: Sequence[Unit]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for number, unit in enumerate(units):
        counts.update(_unit_counts(config, number, unit))
    return dict(sorted(counts.items()))


def _write_card(config: ExportConfig, captioning: RecaptionConfig | None, units: Sequence[Unit]) -> None:
    import pyarrow.parquet

    splits: Counter[str] = Counter()
    for unit, name in zip(units, _places(units).values(), strict=True):
        splits[split_of(unit)] += pyarrow.parquet.read_metadata(config.output_dir / DATA / name).num_rows
    first = pyarrow.parquet.read_schema(next(iter(sorted((config.output_dir / DATA).glob("*.parquet")))))
    captioner = read_sidecar_table(config.recaptions, units[0].name, ["captioner_id"]).column(0).to_pylist()
    facts = CardFacts(
        splits=dict(splits),
        statuses=_counts(config, units),
        prompt=None if captioning is None else captioning.prompt,
        captioner_id=next((each for each in captioner if each), None),
        columns={field.name: str(field.type) for field in first},
    )
    write_text(config.output_dir / CARD, write_card(config, facts))
