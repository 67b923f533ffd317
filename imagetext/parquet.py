"""Read parquet tables from disk or by URL, with errors that name the file and the column."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from imagetext import files
from runtime.errors import UserError

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet

_BATCH_ROWS = 16
"""Rows in memory at once where rows are read one by one: they may hold pictures."""


def read_table(location: str | Path, columns: Sequence[str] | None = None) -> "pyarrow.Table":
    """Return a parquet file's table; raise UserError for a file that is missing, damaged or lacks a column."""
    with _opened(io.BytesIO(files.read_bytes(location)), location, columns or ()) as file:
        return file.read(columns=None if columns is None else list(columns))


def num_rows(location: str | Path, columns: Sequence[str]) -> int:
    """Return the number of a parquet file's rows; raise UserError as `read_table` does."""
    with files.open_binary(location) as stream, _opened(stream, location, columns) as file:
        return int(file.metadata.num_rows)


def iterate_rows(location: str | Path, columns: Sequence[str], start: int, stop: int) -> Iterator[dict[str, Any]]:
    """Yield the rows of a parquet file from `start` to before `stop`, few in memory at once.

    Raises UserError as `read_table` does.
    """
    with files.open_binary(location) as stream, _opened(stream, location, columns) as file:
        groups, first = _row_groups(file.metadata, start, stop)
        for batch in file.iter_batches(batch_size=_BATCH_ROWS, row_groups=groups, columns=list(columns)):
            skipped = min(batch.num_rows, max(0, start - first))
            yield from batch.slice(skipped, max(0, stop - first - skipped)).to_pylist()
            first += batch.num_rows
            if first >= stop:
                return


def _row_groups(metadata: "pyarrow.parquet.FileMetaData", start: int, stop: int) -> tuple[list[int], int]:
    """Return the row groups that hold any of the rows from `start` to before `stop`, and the first one's first row."""
    ends = list(accumulate(metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)))
    begins = [0, *ends[:-1]]
    groups = [group for group, (begin, end) in enumerate(zip(begins, ends)) if begin < stop and end > start]
    return groups, begins[groups[0]] if groups else 0


@contextmanager
def _opened(
    stream: BinaryIO | io.BytesIO, location: str | Path, columns: Sequence[str]
) -> "Iterator[pyarrow.parquet.ParquetFile]":
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(stream)
        for column in columns:
            if column not in file.schema_arrow.names:
                raise UserError(
                    f"parquet has no column {column}",
                    where=location,
                    wanted=f"one of {', '.join(file.schema_arrow.names)}",
                )
        yield file
    except pyarrow.ArrowException as error:
        raise UserError("parquet is damaged", where=location, found=str(error), fix="Fetch or write it again") from None


def read_schema(location: str | Path) -> "pyarrow.Schema":
    """Return the columns of a parquet file, read from its footer; raise UserError as `read_table` does."""
    with files.open_binary(location) as stream, _opened(stream, location, ()) as file:
        return file.schema_arrow


def rows_of(table: "pyarrow.Table | pyarrow.RecordBatch") -> list[dict[str, Any]]:
    """Return a table's rows; bytes of a text that are no UTF-8 become U+FFFD."""
    columns = {name: _values(table.column(name)) for name in table.schema.names}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _values(column: "pyarrow.ChunkedArray | pyarrow.Array") -> list[Any]:
    import pyarrow

    try:
        return column.to_pylist()
    except UnicodeDecodeError:
        texts = column.cast(pyarrow.large_binary()).to_pylist()
        return [None if text is None else text.decode("utf-8", errors="replace") for text in texts]
