"""Those who are compared, and their captions of the pictures drawn."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imagetext.parquet import rows_of
from imagetext.sidecars import RECAPTION_COLUMN, read_sidecar_table
from recaption.comparison.config import CompareConfig, name_of, place_of
from recaption.config import RecaptionConfig
from recaption.input_config import INPUT_KINDS
from recaption.inputs.opening import open_units
from recaption.inputs.units import SUCCESS, Unit
from recaption.job.marks import finished_names, read_marks
from recaption.job.progress import Totals, summarise
from recaption.job.reopening import finished_of, input_of
from recaption.sample_table import on_table, write_sample
from recaption.sampling import SampledRow, sample_input
from runtime.config import load
from runtime.errors import UserError
from runtime.yaml_files import read_mapping

UNIT_ROWS = 32
"""Pictures of a sidecar that is made here."""
SAMPLE = "sample.parquet"


@dataclass(frozen=True, kw_only=True)
class Said:
    """What one captioner said of one picture."""

    text: str | None
    """The caption; None where there is none."""
    status: str
    finish_reason: str | None = None
    num_tokens: int | None = None
    flags: tuple[str, ...] = ()
    """What the sidecar flags."""


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """One captioner and its captions of the pictures drawn, by the row's name."""

    name: str
    place: Path
    said: Mapping[str, Said]
    totals: Totals
    """Of the run that its captions are from: a folder's whole run, or that on the pictures drawn."""
    made_here: bool
    settings: str
    """Model and captioner, as far as they are known."""


@dataclass(frozen=True, kw_only=True)
class Bout:
    """Pictures drawn, and everyone's captions of them."""

    rows: Sequence[SampledRow]
    contestants: Sequence[Contestant] = field(default=())


def hold(config: CompareConfig) -> Bout:
    """Draw pictures, take or make everyone's captions of them.

    Raises UserError for a captioner that is neither a run nor settings of one, pictures that a run has no sidecar of,
    and as `run` does.
    """
    folders = [place_of(each) for each in config.captioners if place_of(each).is_dir()]
    units = _units(config)
    finished = [set(finished_of(folder)) for folder in folders]
    shared = [unit for unit in units if all(unit.name in names for names in finished)]
    if not shared:
        found = [unit.name for unit in units[:3]]
        raise UserError("no unit of this input is captioned by all", where="captioners", found=found)
    drawn = sample_input(shared, config.num_images, config.seed)
    rows = [row for row in drawn if row.row.image is not None]
    if len(rows) < 2:
        raise UserError("too few pictures", where="input", found=len(rows), wanted="2 or more")
    table = config.output_dir / SAMPLE
    write_sample(table, rows, shared, UNIT_ROWS)
    return Bout(rows=rows, contestants=[_contestant(config, each, rows, table) for each in config.captioners])


def _units(config: CompareConfig) -> Sequence[Unit]:
    first = place_of(config.captioners[0])
    if first.is_dir():
        return input_of(first, config.input)
    places = [f"--{name}={place}" for name, place in vars(config.input).items() if place is not None]
    return open_units(load(RecaptionConfig, _settings_file(first), overrides=[_output(config, first), *places]))


def _totals_of(place: Path) -> Totals:
    return summarise(read_marks(place, sorted(finished_names(place))), now=time.time())


def _contestant(config: CompareConfig, captioner: str, rows: Sequence[SampledRow], table: Path) -> Contestant:
    name, place = name_of(captioner), place_of(captioner)
    if place.is_dir():
        said = _taken(place, rows, config.column)
        totals = _totals_of(place)
        return Contestant(
            name=name, place=place, said=said, totals=totals, made_here=False, settings=_settings(_saved(place))
        )
    settings = _for_sample(config, place, table, name)
    said = _made(settings, config.column)
    totals = _totals_of(settings.output_dir)
    told = _settings(vars(settings))
    return Contestant(name=name, place=place, said=said, totals=totals, made_here=True, settings=told)


def _for_sample(config: CompareConfig, place: Path, table: Path, name: str) -> RecaptionConfig:
    """Return settings of a file, to be run on the pictures drawn."""
    said = read_mapping(_settings_file(place), "settings of a run")
    needed = [] if any(said.get(kind) is not None for kind in INPUT_KINDS) else [f"--table={table}"]
    found = load(RecaptionConfig, place, overrides=[_output(config, place), *needed])
    return on_table(found, table, config.output_dir / "runs" / name, UNIT_ROWS)


def _settings_file(place: Path) -> Path:
    if place.suffix not in (".yaml", ".yml") or not place.is_file():
        wanted = "the folder of a run, or a YAML file of settings for one"
        raise UserError("no captioner", where="captioners", found=str(place), wanted=wanted)
    return place


def _output(config: CompareConfig, place: Path) -> str:
    return f"--output_dir={config.output_dir / 'runs' / place.stem}"


def _made(settings: RecaptionConfig, column: str) -> dict[str, Said]:
    from recaption.verbs import run

    run(settings)
    names = sorted(finished_names(settings.output_dir))
    rows = [row for name in names for row in rows_of(read_sidecar_table(settings.output_dir, name))]
    return {str(row["key"]): _said(row, column) for row in rows}


def _taken(folder: Path, rows: Sequence[SampledRow], column: str) -> dict[str, Said]:
    said: dict[str, Said] = {}
    for unit in dict.fromkeys(row.unit for row in rows):
        found = {str(row["key"]): row for row in rows_of(read_sidecar_table(folder, unit))}
        for row in (row for row in rows if row.unit == unit):
            if row.row.key not in found:
                what, fix = "the run is of other pictures", "Say where its input is"
                raise UserError(what, where=folder, found=f"no row {row.name}", wanted="a row for each", fix=fix)
            said[row.name] = _said(found[row.row.key], column)
    return said


def _said(row: Mapping[str, Any], column: str) -> Said:
    text = row.get(column, row[RECAPTION_COLUMN])
    usable = row["status"] == SUCCESS and bool((text or "").strip())
    return Said(
        text=text if usable else None,
        status=str(row["status"]),
        finish_reason=row["finish_reason"],
        num_tokens=row["num_tokens"],
        flags=tuple(row["flags"] or ()),
    )


def _saved(folder: Path) -> dict[str, Any]:
    path = folder / "config.yaml"
    return read_mapping(path, "run config") if path.exists() else {"captions": "imported"}


def _settings(said: Mapping[str, Any]) -> str:
    named = ("captions", "captioner", "model", "prompt", "workers")
    return ", ".join(f"{name}: {said[name]}" for name in named if said.get(name) is not None)
