"""Batches by position: what shares a batch follows from the places of rows in their unit, never from their content."""

from collections.abc import Iterator

from recaption.captioners.base import Hole, Item, Request, UnitEnd

Place = Request | Hole


def batches_by_position(items: Iterator[Item], batch_size: int) -> Iterator[list[Place]]:
    """Yield the places of each batch: `batch_size` of one unit's, or what is left at its end.

    Rows without a picture keep their places, so that the rows after them fall into the same batches as ever; a batch of
    nothing else is left out.
    """
    batch: list[Place] = []
    for item in items:
        if not isinstance(item, UnitEnd):
            batch.append(item)
        if len(batch) == batch_size or isinstance(item, UnitEnd):
            yield from _worth_asking(batch)
            batch = []
    yield from _worth_asking(batch)


def _worth_asking(batch: list[Place]) -> Iterator[list[Place]]:
    if any(isinstance(place, Request) for place in batch):
        yield batch
