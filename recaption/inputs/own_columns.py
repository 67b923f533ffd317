"""The users' own columns: which of an input's columns go into the sidecar beside ours, and as what."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow


def own_types(schema: "pyarrow.Schema", taken: Collection[str]) -> "dict[str, pyarrow.DataType]":
    """Return the columns of an input that are the users' own, in its order: all but those taken and binary ones.

    Bytes are left behind wherever they are nested, since pictures are never written again.
    """
    return {field.name: field.type for field in schema if field.name not in taken and not _holds_bytes(field.type)}


def own_values(row: Mapping[str, Any], types: Collection[str]) -> dict[str, object]:
    """Return a row's own columns."""
    return {name: row[name] for name in types}


def _holds_bytes(kind: "pyarrow.DataType") -> bool:
    import pyarrow

    tests = (pyarrow.types.is_binary, pyarrow.types.is_large_binary, pyarrow.types.is_fixed_size_binary)
    if any(test(kind) for test in (*tests, pyarrow.types.is_binary_view)):
        return True
    if pyarrow.types.is_dictionary(kind):
        return _holds_bytes(kind.value_type)
    return any(_holds_bytes(kind.field(index).type) for index in range(kind.num_fields))
