"""Rows drawn from an input, or from the captions of a run: a function of the seed and of their names alone."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imagetext.parquet import rows_of
from imagetext.sidecars import read_sidecar_table
from recaption.inputs.units import SUCCESS, InputRow, Unit
from runtime import seeds
from runtime.errors import UserError

UNITS_MAX = 8
"""Units that a sample comes from at most: each costs one reading of a tar, wherever that lies."""


@dataclass(frozen=True, kw_only=True)
class SampledRow:
    """One row of an input, with what a sidecar says of it."""

    unit: str
    row: InputRow
    sidecar: Mapping[str, Any]
    """Empty for rows of an input that is not captioned yet."""
    num_passed: int
    """Rows of the unit that were read up to this one, itself included."""

    @property
    def name(self) -> str:
        """Return what names the row among those of all units."""
        return f"{self.unit}/{self.row.key}"


def choose(names: Collection[str], count: int, seed: int, purpose: str) -> set[str]:
    """Return `count` of some names, or all where there are no more."""
    return set(sorted(names, key=lambda name: (seeds.derive(seed, purpose, name), name))[:count])


def sample_input(
    units: Sequence[Unit], num_rows: int, seed: int, *, units_max: int = UNITS_MAX
) -> Iterator[SampledRow]:
    """Yield rows of an input, those that failed before included, spread evenly over some of its units."""
    chosen = _some_units(units, units_max, seed)
    for place, unit in enumerate(chosen):
        keys = choose(unit.keys(), _share(num_rows, len(chosen), place), seed, f"rows of {unit.name}")
        for num_passed, row in _rows(unit, keys):
            yield SampledRow(unit=unit.name, row=row, sidecar={}, num_passed=num_passed)


def sample_captioned(
    folder: Path, units: Sequence[Unit], num_rows: int, seed: int, *, columns: Sequence[str]
) -> Iterator[SampledRow]:
    """Yield rows that have a text in each of some sidecar columns, with their pictures.

    Only units whose sidecars are finished are drawn from. Raises UserError where the input's rows are not those that
    were captioned.
    """
    chosen = _some_units(units, UNITS_MAX, seed)
    for place, unit in enumerate(chosen):
        sidecar = {str(row["key"]): row for row in rows_of(read_sidecar_table(folder, unit.name))}
        usable = [key for key, row in sidecar.items() if row["status"] == SUCCESS and _has_texts(row, columns, folder)]
        keys = choose(usable, _share(num_rows, len(chosen), place), seed, f"rows of {unit.name}")
        found = [(place, row) for place, row in _rows(unit, keys) if row.image is not None]
        if len(found) != len(keys):
            missing = sorted(keys - {row.key for _, row in found})
            fix = "Say where the captioned input is now"
            raise UserError("the input is not the one that was captioned", where=unit.name, found=missing[:3], fix=fix)
        for num_passed, row in found:
            yield SampledRow(unit=unit.name, row=row, sidecar=sidecar[row.key], num_passed=num_passed)


def finished_units(folder: Path, units: Sequence[Unit], finished: Collection[str]) -> list[Unit]:
    """Return the units of an input whose captions are finished; raise UserError where there are none."""
    names = set(finished)
    done = [unit for unit in units if unit.name in names]
    if not done:
        found = f"units {units[0].name}, ... in the input, {sorted(finished)[:1]} captioned"
        raise UserError("no unit of this input is captioned", where=folder, found=found, fix="Check the places.")
    return done


def _some_units(units: Sequence[Unit], units_max: int, seed: int) -> list[Unit]:
    names = choose([unit.name for unit in units], units_max, seed, "units")
    return [unit for unit in units if unit.name in names]


def _share(num_rows: int, num_units: int, place: int) -> int:
    """Return how many of the rows the unit at a place gives."""
    return num_rows * (place + 1) // num_units - num_rows * place // num_units


def _rows(unit: Unit, keys: set[str]) -> Iterator[tuple[int, InputRow]]:
    """Yield some rows, each with the number of rows read so far; stop after the last."""
    left = len(keys)
    for num_passed, row in enumerate(unit.rows() if left else (), start=1):
        if row.key in keys:
            yield num_passed, row
            left -= 1
            if not left:
                return


def _has_texts(row: Mapping[str, Any], columns: Sequence[str], folder: Path) -> bool:
    for column in columns:
        if column not in row:
            raise UserError("sidecar has no such column", where=folder, found=column, wanted=f"one of {', '.join(row)}")
    return all((row[column] or "").strip() for column in columns)
