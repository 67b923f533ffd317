"""The parquet files published as Recap-DataComp-1B, read as they are: their columns vary from file to file."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from imagetext import files
from imagetext.sidecar_schema import FURTHER_CAPTION_PREFIX, RECAPTION_COLUMN, SIDECAR_SCHEMA
from recaption.exchange.byte_escapes import undo_byte_escapes
from runtime.errors import UserError

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet

ORIGINAL_CAPTION = "org_caption"
_TEXTS = ("sha256", "url", "key", ORIGINAL_CAPTION)
_SCORE_ENDING = "_score"
_LENGTH_ENDING = "_length"
_ROWS_AT_ONCE = 250_000


@dataclass(frozen=True)
class PublishedFile:
    """One file, which is known by its place among the others."""

    location: str
    number: int


def list_published(location: str) -> list[PublishedFile]:
    """Return the parquet files below a folder or URL, sorted; raise UserError when there are none."""
    names = [name for name in files.list_tree(location) if name.endswith(".parquet")]
    if not names:
        raise UserError("folder holds no parquet files", where=location, wanted="the published files")
    return [PublishedFile(files.join(location, name), number) for number, name in enumerate(names)]


def caption_columns(published: Sequence[PublishedFile]) -> list[str]:
    """Return the names under which any of the files holds captions, re_caption first; their footers are read.

    Raises UserError for a file that records no sha256 or holds no captions.
    """
    names = {RECAPTION_COLUMN: None}
    for file in published:
        with _opened(file) as parquet:
            found = parquet.schema_arrow.names
        captions = [name for name in found if is_caption(name)]
        if "sha256" not in found or not captions:
            wanted = f"sha256 and {RECAPTION_COLUMN} or {FURTHER_CAPTION_PREFIX}..."
            raise UserError("no published captions", where=file.location, found=", ".join(found), wanted=wanted)
        names.update(dict.fromkeys(captions))
    return list(names)


def number_types(published: Sequence[PublishedFile]) -> "dict[str, pyarrow.DataType]":
    """Return the scores and lengths that any file holds and no sidecar has a column for; footers are read."""
    types: dict[str, pyarrow.DataType] = {}
    for file in published:
        with _opened(file) as parquet:
            types = {**{field.name: field.type for field in parquet.schema_arrow if is_number(field.name)}, **types}
    return types


def is_number(name: str) -> bool:
    """Tell whether a column holds scores or lengths that no sidecar has a column for."""
    ours = name in SIDECAR_SCHEMA.names or is_caption(name)
    return name.endswith((_SCORE_ENDING, _LENGTH_ENDING)) and not ours


def is_caption(name: str) -> bool:
    """Tell whether a column holds captions."""
    return name == RECAPTION_COLUMN or name.startswith(FURTHER_CAPTION_PREFIX)


def read_slices(file: PublishedFile) -> "Iterator[tuple[Sequence[int], pyarrow.Table]]":
    """Yield a file's columns sha256 and url in slices of whole row groups, each with their numbers."""
    import pyarrow

    with _opened(file) as parquet:
        has_url = "url" in parquet.schema_arrow.names
        for groups in _slices(parquet.metadata):
            table = parquet.read_row_groups(groups, columns=["sha256", "url"] if has_url else ["sha256"])
            if not has_url:
                table = table.append_column("url", pyarrow.nulls(len(table), pyarrow.string()))
            yield groups, table


def read_rows(file: PublishedFile, groups: Sequence[int], rows: Any) -> "pyarrow.Table":
    """Return some rows of some row groups: their texts, captions, scores and lengths, escapes undone."""
    with _opened(file) as parquet:
        names = [name for name in parquet.schema_arrow.names if _is_wanted(name)]
        table = parquet.read_row_groups(list(groups), columns=names).take(rows)
    for place, name in enumerate(table.schema.names):
        if name in _TEXTS or is_caption(name):
            table = table.set_column(place, name, _texts(table.column(name), undo=name not in ("sha256", "url", "key")))
    return table


def unscored(file: PublishedFile) -> list[str]:
    """Return a file's score columns that are all zero: nothing was scored, whatever the numbers look like."""
    import pyarrow.compute

    with _opened(file) as parquet:
        names = [name for name in parquet.schema_arrow.names if name.endswith(_SCORE_ENDING)]
        scored: set[str] = set()
        for group in range(parquet.metadata.num_row_groups):
            left = [name for name in names if name not in scored]
            if not left:
                break
            table = parquet.read_row_group(group, columns=left)
            scored |= {n for n in left if pyarrow.compute.any(pyarrow.compute.not_equal(table.column(n), 0)).as_py()}
    return [name for name in names if name not in scored]


def _is_wanted(name: str) -> bool:
    return name in _TEXTS or is_caption(name) or name.endswith((_SCORE_ENDING, _LENGTH_ENDING))


def _texts(column: "pyarrow.ChunkedArray", *, undo: bool) -> "pyarrow.Array":
    import pyarrow

    raw = column.cast(pyarrow.large_binary()).to_pylist()
    texts = [None if text is None else text.decode("utf-8", errors="replace") for text in raw]
    undone = [None if text is None else undo_byte_escapes(text) for text in texts] if undo else texts
    return pyarrow.array(undone, pyarrow.string())


def _slices(metadata: "pyarrow.parquet.FileMetaData") -> Iterator[list[int]]:
    groups, num_rows = [], 0
    for group in range(metadata.num_row_groups):
        groups.append(group)
        num_rows += metadata.row_group(group).num_rows
        if num_rows >= _ROWS_AT_ONCE:
            yield groups
            groups, num_rows = [], 0
    if groups:
        yield groups


@contextmanager
def _opened(file: PublishedFile) -> Iterator[Any]:
    import pyarrow
    import pyarrow.parquet

    try:
        with files.open_binary(file.location) as stream:
            yield pyarrow.parquet.ParquetFile(stream)
    except pyarrow.ArrowException as error:
        fix = "Fetch it again"
        raise UserError("parquet is damaged", where=file.location, found=str(error), fix=fix) from None
