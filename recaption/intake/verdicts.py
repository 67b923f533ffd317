"""What an intake decided, kept by unit, and an input seen through it."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow
import pyarrow.parquet

from recaption.inputs.units import SUCCESS, InputRow, Unit
from recaption.intake.deciding import BLOCKED, DUPLICATE_PICTURE, Verdict
from runtime.atomic import atomic_path
from runtime.errors import UserError

if TYPE_CHECKING:
    from pyarrow import DataType

VERDICTS = "verdicts"
DUPLICATE_OF = "duplicate_of"
_SCHEMA = pyarrow.schema(
    [
        ("key", pyarrow.string()), (DUPLICATE_OF, pyarrow.string()), ("duplicate_by", pyarrow.string()),
        ("blocked_by", pyarrow.string()), ("evaluation_image", pyarrow.string()),
        ("evaluation_bits", pyarrow.int64()), ("flags", pyarrow.list_(pyarrow.string())),
    ]
)  # fmt: skip


def write_verdicts(folder: Path, unit: str, verdicts: Sequence[Verdict]) -> None:
    """Write what becomes of a unit's rows."""
    table = pyarrow.Table.from_pylist([asdict(verdict) for verdict in verdicts], schema=_SCHEMA)
    with atomic_path(folder / VERDICTS / f"{unit}.parquet") as partial:
        pyarrow.parquet.write_table(table, partial)


def read_verdicts(folder: Path, unit: str) -> list[Verdict]:
    """Return what becomes of a unit's rows; raises UserError where that was not decided."""
    place = folder / VERDICTS / f"{unit}.parquet"
    if not place.exists():
        fix = "Run intake on this input, or leave --intake out"
        raise UserError("the intake does not know this unit", where=place, found="no such file", fix=fix)
    rows = pyarrow.parquet.read_table(place).to_pylist()
    return [Verdict(**{**row, "flags": tuple(row["flags"])}) for row in rows]


@dataclass(frozen=True)
class IntakeUnit:
    """A unit whose unwanted rows and duplicates come without their pictures, and the others with what is known."""

    unit: Unit
    folder: Path
    """Where the intake wrote."""

    @property
    def name(self) -> str:
        """Return the unit's own name."""
        return self.unit.name

    def count_rows(self) -> int:
        """Return the unit's own number of rows."""
        return self.unit.count_rows()

    def fingerprint(self) -> str:
        """Return a digest of the unit's own and of what was decided."""
        decided = "\n".join(repr(verdict) for verdict in read_verdicts(self.folder, self.name))
        return hashlib.sha256(f"{self.unit.fingerprint()}\n{decided}".encode()).hexdigest()

    def keys(self) -> list[str]:
        """Return the unit's own keys."""
        return self.unit.keys()

    def column_types(self) -> "Mapping[str, DataType]":
        """Return the unit's own columns and `duplicate_of`."""
        return {**self.unit.column_types(), DUPLICATE_OF: pyarrow.string()}

    def rows(self) -> Iterator[InputRow]:
        """Yield the unit's rows; raises UserError where they are not those that were decided about."""
        verdicts = read_verdicts(self.folder, self.name)
        if len(verdicts) != self.count_rows():
            self._refuse(f"{self.count_rows()} rows", f"{len(verdicts)} rows")
        for row, verdict in zip(self.unit.rows(), verdicts, strict=True):
            if row.key != verdict.key:
                self._refuse(row.key, verdict.key)
            yield _seen_through(row, verdict)

    def _refuse(self, found: str, wanted: str) -> None:
        what = "the input is not the one that the intake saw"
        raise UserError(what, where=self.name, found=found, wanted=wanted, fix="Run intake again")


def through_intake(units: Sequence[Unit], folder: Path) -> list[Unit]:
    """Return units seen through an intake; raises UserError for a folder without one."""
    if not (folder / VERDICTS).is_dir():
        raise UserError("no intake here", where=folder, found=f"no {VERDICTS}", fix="Run intake, or check --intake")
    return [IntakeUnit(unit, folder) for unit in units]


def _seen_through(row: InputRow, verdict: Verdict) -> InputRow:
    columns = {**row.columns, DUPLICATE_OF: verdict.duplicate_of}
    row = replace(row, columns=columns, flags=(*row.flags, *verdict.flags))
    if verdict.blocked_by is not None:
        return replace(row, image=None, status=BLOCKED, error_message=f"on the list {verdict.blocked_by}")
    if verdict.duplicate_of is not None and row.status == SUCCESS:
        message = f"the picture of {verdict.duplicate_of} ({verdict.duplicate_by})"
        return replace(row, image=None, status=DUPLICATE_PICTURE, error_message=message)
    return row
