"""The seam to inputs: a unit is a named part of the input with every row that it must give back."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import pyarrow

SUCCESS = "success"
MISSING = "missing_from_tar"
"""Status of a row that its shard lists as a success and whose picture is not in the tar."""
UNREADABLE = "failed_to_read"
"""Status of a row whose picture is somewhere else, and could not be read there."""
DUPLICATE = "duplicate_key"
"""Status of a row whose key an earlier row of the unit has; its own key ends in `#2`, `#3`, ..."""
NO_IMAGE = "no_image"
"""Status of a row that never had a picture."""


@dataclass(frozen=True, kw_only=True)
class InputRow:
    """One row to caption: its identity, and its encoded image unless an earlier stage failed on it."""

    key: str
    """Name of the row, no other's in its unit."""
    image: bytes | None
    status: str = SUCCESS
    error_message: str | None = None
    caption: str | None = None
    uid: str | None = None
    url: str | None = None
    sha256: str | None = None
    columns: Mapping[str, object] = field(default_factory=dict)
    """The users' own columns, which go into the sidecar beside ours."""
    flags: tuple[str, ...] = ()
    """What is known of the row before it is captioned; stands in the sidecar with the flags of its captions."""


@runtime_checkable
class Unit(Protocol):
    """A named part of the input that is captioned whole by one worker; pickled, it holds places, not rows."""

    @property
    def name(self) -> str:
        """Return the name of the sidecar to write; known without opening anything."""

    def count_rows(self) -> int:
        """Return how many rows go in, and must come out; may have to read. Raises as `rows` does."""

    def fingerprint(self) -> str:
        """Return a digest of the content, compared when a job is continued; may have to read. Raises as `rows` does."""

    def rows(self) -> Iterator[InputRow]:
        """Yield every row once, in the input's order, failed ones included.

        Raises UserError for a unit whose rows can't be told, OSError where the place they are read from fails.
        """

    def keys(self) -> list[str]:
        """Return the keys of `rows`, in order."""

    def column_types(self) -> "Mapping[str, pyarrow.DataType]":
        """Return the types of the users' own columns, as far as the input declares them, in its order."""
