"""Units of tables, parquet or Arrow: consecutive groups of a file's rows, each with a picture or a picture's place."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from imagetext import files
from imagetext.parquet import rows_of
from recaption.inputs.own_columns import own_values
from recaption.inputs.places import Fetched, fetch_ahead, folder_of, reason, resolve_place
from recaption.inputs.table_columns import ColumnsConfig, TableColumns, find_columns
from recaption.inputs.table_files import SUFFIXES, group_sizes, read_batches, table_schema
from recaption.inputs.units import NO_IMAGE, SUCCESS, UNREADABLE, InputRow
from runtime.errors import UserError

if TYPE_CHECKING:
    import pyarrow

_TABLES_REMEMBERED = 8
"""Files whose keys a process keeps, since units of one file follow each other."""


@dataclass(frozen=True)
class TableUnit:
    """Some groups of rows of one file."""

    name: str
    location: str
    """Path or URL of the file."""
    label: str
    """Name of the file among the others; rows without a key of their own are called LABEL/ROW."""
    groups: tuple[int, int]
    """The first group, and the one behind the last."""
    first_row: int
    """Rows of the file before the first group."""
    num_rows: int
    columns: ColumnsConfig

    def count_rows(self) -> int:
        """Return the rows of its groups."""
        return self.num_rows

    def fingerprint(self) -> str:
        """Return a digest of the file's name and size and of the rows' places in it."""
        facts = (self.label, files.size_bytes(self.location), self.first_row, self.num_rows)
        return hashlib.sha256(repr(facts).encode()).hexdigest()

    def column_types(self) -> "Mapping[str, pyarrow.DataType]":
        """Return the types of the users' own columns."""
        used, _ = _distinct_keys(self.location, self._meaning.keys)
        return {name: kind for name, kind in self._meaning.own.items() if name != used}

    def keys(self) -> list[str]:
        """Return the keys of all rows: of the first key column whose values are each there once in the file."""
        _, keys = _distinct_keys(self.location, self._meaning.keys)
        rows = range(self.first_row, self.first_row + self.num_rows)
        return [keys[row] if keys else f"{self.label}/{row}" for row in rows]

    def rows(self) -> Iterator[InputRow]:
        """Yield the rows; a picture that can't be fetched becomes a row that says so."""
        listed = zip(self.keys(), self._read(), strict=True)
        meaning, own, folder = self._meaning, self.column_types(), folder_of(self.location)
        pictures = (((key, row), _picture(row[meaning.image], folder)) for key, row in listed)
        for (key, row), image in fetch_ahead(pictures):
            yield _input_row(key, row, image, meaning, own_values(row, own))

    @cached_property
    def _meaning(self) -> TableColumns:
        return find_columns(table_schema(self.location), self.columns, self.location)

    def _read(self) -> Iterator[dict[str, Any]]:
        meaning = self._meaning
        wanted = [name for name in (meaning.image, meaning.caption, *meaning.identity) if name is not None]
        names = list(dict.fromkeys([*wanted, *meaning.own]))
        for batch in read_batches(self.location, range(*self.groups), names):
            yield from rows_of(batch)


def list_table_units(location: str, rows_per_unit: int, columns: ColumnsConfig) -> list[TableUnit]:
    """Return the units of a table, one file or a folder or URL of files; the files' footers are read.

    Raises UserError for a place without tables, a damaged file, and columns that can't be told.
    """
    if location.endswith(SUFFIXES):
        return units_of_files([(location, files.name_of(location))], rows_per_unit, columns)
    names = [name for name in files.list_names(location) if name.endswith(SUFFIXES) and not name.startswith(".")]
    if not names:
        raise UserError("folder holds no tables", where=location, wanted="files *.parquet or *.arrow")
    return units_of_files([(files.join(location, name), name) for name in names], rows_per_unit, columns)


def units_of_files(
    located: Sequence[tuple[str, str]], rows_per_unit: int, columns: ColumnsConfig, *, prefix: str = ""
) -> list[TableUnit]:
    """Return the units of files, given as places and names: as many whole groups each as reach `rows_per_unit`."""
    units: list[TableUnit] = []
    for place, label in located:
        sizes = group_sizes(place)
        first_group, first_row = 0, 0
        for group in range(len(sizes)):
            num_rows = sum(sizes[first_group : group + 1])
            if num_rows >= rows_per_unit or (num_rows and group == len(sizes) - 1):
                name, groups = f"{prefix}{len(units):05d}", (first_group, group + 1)
                units.append(TableUnit(name, place, label, groups, first_row, num_rows, columns))
                first_group, first_row = group + 1, first_row + num_rows
    if not units:
        raise UserError("tables hold no rows", where=located[0][0] if located else "table")
    find_columns(table_schema(units[0].location), columns, units[0].location)
    return units


@lru_cache(maxsize=_TABLES_REMEMBERED)
def _distinct_keys(location: str, names: tuple[str, ...]) -> tuple[str | None, tuple[str, ...]]:
    """Return the first column of a file whose values are each there once, and these as texts; None where none is."""
    for name in names:
        values = [row[name] for batch in read_batches(location, columns=[name]) for row in rows_of(batch)]
        keys = tuple(str(value) for value in values if value is not None)
        if len(set(keys)) == len(values):
            return name, keys
    return None, ()


def _picture(value: Any, folder: str) -> bytes | str | None:
    """Return a picture's bytes, or its place, of what a row's column holds; None where it holds neither."""
    if isinstance(value, Mapping):
        data, path = value.get("bytes"), value.get("path")
        return _picture(path if data is None else data, folder)
    if isinstance(value, str):
        return resolve_place(value, folder) if value else None
    return value if isinstance(value, bytes) else None


def _input_row(
    key: str, row: Mapping[str, Any], image: Fetched | None, meaning: TableColumns, own: Mapping[str, object]
) -> InputRow:
    status, message = SUCCESS, None
    if image is None:
        status, message = NO_IMAGE, f"column {meaning.image} is empty"
    elif isinstance(image, Exception):
        status, message, image = UNREADABLE, reason(image), None
    identity = {name: row[name] for name in meaning.identity if row[name] is not None}
    if image is not None and "sha256" not in identity:
        identity["sha256"] = hashlib.sha256(image).hexdigest()
    caption = None if meaning.caption is None else row[meaning.caption]
    return InputRow(
        key=key,
        image=image,
        status=status,
        error_message=message,
        caption=None if caption is None else str(caption),
        columns=own,
        **identity,
    )
