"""Read parquet tables from disk or by URL, with errors that name the file and the column."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from imagetext import files
from runtime.errors import UserError

if TYPE_CHECKING:
    import pyarrow


def read_table(location: str | Path, columns: Sequence[str] | None = None) -> "pyarrow.Table":
    """Return a parquet file's table; raise UserError for a file that is missing, damaged or lacks a column."""
    import pyarrow
    import pyarrow.parquet

    data = io.BytesIO(files.read_bytes(location))
    try:
        file = pyarrow.parquet.ParquetFile(data)
        for column in columns or ():
            if column not in file.schema_arrow.names:
                raise UserError(
                    f"parquet has no column {column}",
                    where=location,
                    wanted=f"one of {', '.join(file.schema_arrow.names)}",
                )
        return file.read(columns=None if columns is None else list(columns))
    except pyarrow.ArrowException as error:
        raise UserError("parquet is damaged", where=location, found=str(error), fix="Fetch or write it again") from None
