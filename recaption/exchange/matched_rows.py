"""Published rows that belong to one's own shards, kept on disk between reading them and writing sidecars.

A file of matched rows for each published file and pass: a row group for each group of own shards, so that the rows of
one group are read alone. Its footer counts what was read.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from recaption.exchange.digest_index import DigestIndex, Pairs
from recaption.exchange.published_files import PublishedFile, read_rows, read_slices, unscored
from runtime.atomic import atomic_path

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet

GROUP, FILE, ROW, SAME_URL, NUM_ALIKE = "_group", "_file", "_row", "_same_url", "_num_alike"
_NUM_ROWS, _NUM_MATCHED = b"num_rows", b"num_matched"


def keep_matched(file: PublishedFile, index: DigestIndex, place: Path) -> None:
    """Write the rows of a published file whose digest the index knows, whole or not at all."""
    import pyarrow
    import pyarrow.parquet

    tables, num_rows, num_matched = list[pyarrow.Table](), 0, 0
    for groups, table in read_slices(file):
        pairs = index.match(table)
        num_matched += pairs.num_matched
        if len(pairs.rows):
            tables.append(_placed(read_rows(file, groups, pairs.rows), pairs, file.number, num_rows))
        num_rows += len(table)
    matched = pyarrow.concat_tables(tables) if tables else _no_rows()
    if tables:
        matched = _without_scores(matched, unscored(file)).sort_by(GROUP)
    counts = {_NUM_ROWS: str(num_rows), _NUM_MATCHED: str(num_matched)}
    matched = matched.replace_schema_metadata(counts)
    with atomic_path(place) as partial, pyarrow.parquet.ParquetWriter(partial, matched.schema) as writer:
        for part in _by_group(matched):
            writer.write_table(part, row_group_size=max(len(part), 1))


def read_group(places: Sequence[Path], group: int) -> "pyarrow.Table":
    """Return the matched rows of one group of own shards, from all published files."""
    import pyarrow
    import pyarrow.parquet

    tables = []
    for place in places:
        with pyarrow.parquet.ParquetFile(place) as file:
            wanted = [number for number in range(file.metadata.num_row_groups) if _group_of(file, number) == group]
            if wanted:
                tables.append(file.read_row_groups(wanted).replace_schema_metadata(None))
    return pyarrow.concat_tables(tables, promote_options="permissive") if tables else _no_rows()


def count_rows(places: Sequence[Path]) -> tuple[int, int]:
    """Return how many published rows were read, and how many of them have a digest of one's own."""
    import pyarrow.parquet

    counts = [pyarrow.parquet.read_schema(place).metadata for place in places]
    return sum(int(each[_NUM_ROWS]) for each in counts), sum(int(each[_NUM_MATCHED]) for each in counts)


def _placed(table: "pyarrow.Table", pairs: Pairs, number: int, first_row: int) -> "pyarrow.Table":
    import pyarrow

    facts = {
        GROUP: pairs.groups,
        FILE: [number] * len(pairs.rows),
        ROW: pairs.rows + first_row,
        SAME_URL: pairs.same_url,
        NUM_ALIKE: pairs.num_alike,
    }
    for place, (name, values) in enumerate(facts.items()):
        table = table.add_column(place, name, pyarrow.array(values, pyarrow.int64()))
    return table


def _without_scores(table: "pyarrow.Table", names: Sequence[str]) -> "pyarrow.Table":
    import pyarrow

    for name in names:
        place = table.schema.get_field_index(name)
        table = table.set_column(place, name, pyarrow.nulls(len(table), table.schema.field(name).type))
    return table


def _by_group(table: "pyarrow.Table") -> Iterator["pyarrow.Table"]:
    import numpy as np

    groups = table.column(GROUP).to_numpy()
    starts = np.flatnonzero(np.concatenate([[True], groups[1:] != groups[:-1]])).tolist() if len(groups) else []
    for start, end in zip(starts, [*starts[1:], len(groups)], strict=True) if starts else ():
        yield table.slice(start, end - start)


def _group_of(file: "pyarrow.parquet.ParquetFile", number: int) -> int:
    return int(file.metadata.row_group(number).column(0).statistics.min)


def _no_rows() -> "pyarrow.Table":
    import pyarrow

    names = (GROUP, FILE, ROW, SAME_URL, NUM_ALIKE)
    fields = [*((name, pyarrow.int64()) for name in names), ("sha256", pyarrow.string()), ("url", pyarrow.string())]
    return pyarrow.schema(fields).empty_table()
