"""What shares a batch follows from places alone."""

from hypothesis import given, settings
from hypothesis import strategies as st

from recaption.captioners.base import Hole, Item, Request, UnitEnd
from recaption.captioners.positions import batches_by_position


def request(ticket: int) -> Request:
    return Request(ticket=ticket, picture=None, prompts=("What is it?",))


def stream(units: list[list[bool]]) -> list[Item]:
    """Return units of rows, each a request (True) or a hole; a ticket is the row's place in the whole stream."""
    items: list[Item] = []
    place = 0
    for unit in units:
        for has_picture in unit:
            items.append(request(place) if has_picture else Hole())
            place += 1
        items.append(UnitEnd())
    return items


UNITS = st.lists(st.lists(st.booleans(), max_size=12), max_size=5)


@settings(deadline=None, max_examples=40)
@given(UNITS, st.integers(1, 5))
def test_holes_change_no_batch_and_no_batch_reaches_over_a_units_end(units: list[list[bool]], size: int) -> None:
    whole = [[True] * len(unit) for unit in units]
    wanted = [[place.ticket for place in batch] for batch in batches_by_position(iter(stream(whole)), size)]
    found = list(batches_by_position(iter(stream(units)), size))
    tickets = {place: batch for batch in wanted for place in batch}
    for batch in found:
        requests = [place.ticket for place in batch if isinstance(place, Request)]
        assert requests and len(batch) == len(tickets[requests[0]])
        assert set(requests) <= set(tickets[requests[0]])
    asked = [place.ticket for batch in found for place in batch if isinstance(place, Request)]
    assert asked == [item.ticket for item in stream(units) if isinstance(item, Request)]
    lengths = [min(size, len(unit) - start) for unit in units for start in range(0, len(unit), size)]
    assert [len(batch) for batch in wanted] == lengths


def test_a_stream_without_a_last_unit_end_loses_nothing() -> None:
    assert [len(batch) for batch in batches_by_position(iter([request(1), Hole(), request(2)]), 2)] == [2, 1]
