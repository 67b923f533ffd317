"""Rows over which workers died or captioners were lost, counted on disk: `job/attempts/UNIT.json`.

A file exists only while its unit is unfinished and something happened to it.
"""

from collections.abc import Iterable
from pathlib import Path

from runtime.atomic import write_json
from runtime.errors import UserError
from runtime.json_files import read_object

ATTEMPTS = Path("job") / "attempts"
_FIELD = "deaths_by_row"


def read_deaths(folder: Path, unit_name: str) -> dict[int, int]:
    """Return how often something died over each row of a unit, by the row's index; rows without are left out."""
    path = _path(folder, unit_name)
    if not path.exists():
        return {}
    counts = read_object(path, _FIELD)[_FIELD]
    try:
        return {int(index): int(count) for index, count in counts.items()}
    except (AttributeError, TypeError, ValueError):
        fix = "Delete this file: rows are then counted anew"
        raise UserError("no counts by row", where=path, found=counts, wanted="an object", fix=fix) from None


def add_deaths(folder: Path, unit_name: str, indices: Iterable[int]) -> dict[int, int]:
    """Count one more death over each of some rows; return the counts of all rows."""
    deaths = read_deaths(folder, unit_name)
    for index in indices:
        deaths[index] = deaths.get(index, 0) + 1
    write_json(_path(folder, unit_name), {_FIELD: {str(index): deaths[index] for index in sorted(deaths)}})
    return deaths


def forget_deaths(folder: Path, unit_name: str) -> None:
    """Remove the counts of a finished unit."""
    _path(folder, unit_name).unlink(missing_ok=True)


def _path(folder: Path, unit_name: str) -> Path:
    return folder / ATTEMPTS / f"{unit_name}.json"
