"""Captions of two runs beside each other, row by row: how many are equal, and which are not."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imagetext.parquet import rows_of
from imagetext.sidecars import RECAPTION_COLUMN, read_sidecar_table
from recaption.inputs.units import SUCCESS
from runtime.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A row that two runs captioned differently."""

    unit: str
    key: str
    column: str
    text: str
    other_text: str

    @property
    def name(self) -> str:
        """Return what names the caption among all of its run."""
        return f"{self.unit}/{self.key} {self.column}"


@dataclass
class Comparison:
    """What came of comparing captions."""

    num_captions: int = 0
    """Captions that both runs have."""
    num_equal: int = 0
    differences: list[Difference] = field(default_factory=list)
    unlike: list[str] = field(default_factory=list)
    """Rows that one run captioned and the other not, or asked for again, each with the reason."""

    @property
    def equal_share(self) -> float:
        """Return the share of equal captions; 1 where there are none."""
        return self.num_equal / self.num_captions if self.num_captions else 1.0


def compare(folder: Path, other: Path, units: Sequence[str], columns: Sequence[str]) -> Comparison:
    """Compare two runs' captions in some columns of some units.

    Raises UserError where their rows are not the same.
    """
    found = Comparison()
    for unit in units:
        for one, another in _pairs(folder, other, unit):
            _compare_row(found, unit, one, another, columns)
    return found


def _pairs(folder: Path, other: Path, unit: str) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    ours, theirs = (list(rows_of(read_sidecar_table(place, unit))) for place in (folder, other))
    keys, other_keys = ([row["key"] for row in rows] for rows in (ours, theirs))
    if keys != other_keys:
        found = f"{len(other_keys)} rows"
        raise UserError("rows of another input", where=f"{other}: {unit}", found=found, wanted=f"those of {folder}")
    return zip(ours, theirs, strict=True)


def _compare_row(
    found: Comparison, unit: str, one: Mapping[str, Any], another: Mapping[str, Any], columns: Sequence[str]
) -> None:
    if one["status"] != another["status"]:
        found.unlike.append(f"{unit}/{one['key']}: {one['status']} and {another['status']}")
        return
    if one["status"] != SUCCESS:
        return
    for column in columns:
        found.num_captions += 1
        text, other_text = (_first_text(row, column) for row in (one, another))
        name = f"{unit}/{one['key']} {column}"
        if text == other_text:
            found.num_equal += 1
        elif text is None or other_text is None:
            found.unlike.append(f"{name}: asked for again in one run alone")
        else:
            found.differences.append(
                Difference(unit=unit, key=str(one["key"]), column=column, text=text, other_text=other_text)
            )


def _first_text(row: Mapping[str, Any], column: str) -> str | None:
    """Return what the captioner said when it was first asked; None where a later answer took its place."""
    if not row.get("repairs"):
        return str(row[column])
    if column != RECAPTION_COLUMN:
        return None
    return str(row["first_caption"] or row[column])
