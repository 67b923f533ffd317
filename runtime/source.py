"""Where the loop's batches come from."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

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


@runtime_checkable
class CountingSource(BatchSource, Protocol):
    """A source whose audit covers the whole run: the loop keeps its counts in the checkpoint."""

    def state_dict(self) -> dict[str, Any]:
        """Return what this rank has counted, as plain types and tensors."""

    def load_state_dict(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Take over counts, as a sum.

        The main process gets what all ranks had counted, whatever their number was; the others are not asked.
        """


@runtime_checkable
class SkippingSource(BatchSource, Protocol):
    """A source that leaves bad samples out and counts them."""

    def skipped(self) -> Mapping[str, int]:
        """Return how many samples were left out so far, by reason; what `load_state_dict` brought is part of it."""
