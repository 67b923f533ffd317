"""Parts of a job are disjoint, cover it, and do not move."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recaption.executors.partition import Part
from runtime.errors import UserError


@given(st.integers(0, 200), st.integers(1, 40))
def test_parts_are_disjoint_cover_everything_and_differ_by_one_at_most(num_items: int, count: int) -> None:
    items = [f"{number:05d}" for number in range(num_items)]
    parts = [Part(index, count).choose(items) for index in range(count)]
    assert sorted(name for part in parts for name in part) == items
    lengths = {len(part) for part in parts}
    assert max(lengths) - min(lengths) <= 1
    assert all(part == sorted(part) for part in parts)


def test_a_part_is_read_as_arrays_count() -> None:
    assert Part.parse("0/1") == Part(0, 1) and Part.parse("0/1").is_whole
    assert Part.parse("15/16") == Part(15, 16) and str(Part(15, 16)) == "15/16"


@pytest.mark.parametrize("text", ["16/16", "3", "1/0", "-1/4", "a/b", "1/2/3", "", "1 / 2"])
def test_what_is_no_part_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"part: no part of a job: found .*wanted INDEX/COUNT with INDEX from 0"):
        Part.parse(text)
