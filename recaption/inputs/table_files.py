"""Files of rows in groups that can be read alone: parquet (row groups) and Arrow streams or files (record batches)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

from imagetext import files
from runtime.errors import UserError

if TYPE_CHECKING:
    import pyarrow

SUFFIXES = (".parquet", ".arrow")
_ROWS_AT_ONCE = 64
"""Rows in memory at once: they may hold pictures."""
_FIX = "Fetch or write it again"


def group_sizes(location: str) -> list[int]:
    """Return the rows of each group of a file, in order; of a parquet file the footer alone is read.

    Raises UserError for a file that is missing or damaged.
    """
    with _opened(location) as (stream, pyarrow):
        if location.endswith(".parquet"):
            metadata = pyarrow.parquet.ParquetFile(stream).metadata
            return [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        return [batch.num_rows for batch in _record_batches(stream, pyarrow)]


def table_schema(location: str) -> "pyarrow.Schema":
    """Return the columns of a file; raise UserError as `group_sizes` does."""
    with _opened(location) as (stream, pyarrow):
        if location.endswith(".parquet"):
            return pyarrow.parquet.ParquetFile(stream).schema_arrow
        return _arrow_reader(stream, pyarrow).schema


def read_batches(
    location: str, groups: Sequence[int] | None = None, columns: Sequence[str] | None = None
) -> Iterator["pyarrow.RecordBatch"]:
    """Yield the rows of some groups of a file (of all, where none are named), few in memory at once.

    Raises UserError as `group_sizes` does.
    """
    with _opened(location) as (stream, pyarrow):
        if location.endswith(".parquet"):
            file = pyarrow.parquet.ParquetFile(stream)
            wanted = range(file.metadata.num_row_groups) if groups is None else groups
            yield from file.iter_batches(_ROWS_AT_ONCE, row_groups=list(wanted), columns=columns)
            return
        for number, batch in enumerate(_record_batches(stream, pyarrow)):
            if groups is None or number in groups:
                for start in range(0, batch.num_rows, _ROWS_AT_ONCE):
                    part = batch.slice(start, _ROWS_AT_ONCE)
                    yield part if columns is None else part.select(list(columns))


def _record_batches(stream: BinaryIO, pyarrow: Any) -> Iterator["pyarrow.RecordBatch"]:
    reader = _arrow_reader(stream, pyarrow)
    if hasattr(reader, "num_record_batches"):
        yield from (reader.get_batch(number) for number in range(reader.num_record_batches))
    else:
        yield from reader


def _arrow_reader(stream: BinaryIO, pyarrow: Any) -> Any:
    """Return the reader of an Arrow stream, which is what data sets are saved as, or of an Arrow file."""
    try:
        return pyarrow.ipc.open_stream(stream)
    except pyarrow.ArrowInvalid:
        stream.seek(0)
        return pyarrow.ipc.open_file(stream)


@contextmanager
def _opened(location: str) -> Iterator[tuple[Any, Any]]:
    import pyarrow
    import pyarrow.ipc
    import pyarrow.parquet

    try:
        with files.open_binary(location) as stream:
            yield stream, pyarrow
    except pyarrow.ArrowException as error:
        raise UserError("table is damaged", where=location, found=str(error), fix=_FIX) from None
