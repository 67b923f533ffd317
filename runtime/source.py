"""Where the loop's batches come from."""

from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

from runtime.task import Batch


@runtime_checkable
class BatchSource(Protocol):
    """An endless, randomly addressable supply of batches.

    What an update sees is a pure function of its number: a resumed run asks for `updates(start_update)` and gets what
    the undisturbed one would have seen. Global sample position i belongs to update i // batch_size, whatever the
    number of ranks and workers.
    """

    def updates(self, start_update: int, *, rank: int, world_size: int) -> Iterator[Sequence[Batch]]:
        """Yield, update by update from `start_update`, the microbatches of this rank; every rank gets equally many."""

    def fingerprint(self) -> str:
        """Return what identifies the data; a run refuses to resume on other data."""

    def audit(self) -> dict[str, object]:
        """Return counts of what was drawn, skipped and truncated so far, as plain JSON types."""
