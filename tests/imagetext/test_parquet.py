"""Reading rows of a parquet file: any span, and no row group that holds none of it."""

from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from imagetext import parquet


@pytest.fixture
def ten_rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.parquet"
    table = pyarrow.table({"number": list(range(10)), "unread": ["x"] * 10})
    pyarrow.parquet.write_table(table, path, row_group_size=3)
    return path


@pytest.mark.parametrize(
    ("start", "stop"), [(0, 10), (0, 3), (2, 4), (3, 6), (5, 10), (9, 10), (4, 4), (7, 99), (10, 12)]
)
def test_a_span_of_rows_is_read_across_row_groups(ten_rows: Path, start: int, stop: int) -> None:
    rows = list(parquet.iterate_rows(ten_rows, ["number"], start, stop))
    assert rows == [{"number": number} for number in range(10)[start:stop]]


def test_row_groups_outside_the_span_are_not_read(ten_rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    original = pyarrow.parquet.ParquetFile.iter_batches

    def noting(self, *arguments, **named):
        read.append(named["row_groups"])
        return original(self, *arguments, **named)

    monkeypatch.setattr(pyarrow.parquet.ParquetFile, "iter_batches", noting)
    list(parquet.iterate_rows(ten_rows, ["number"], 4, 7))
    assert read == [[1, 2]]
