"""Rows: which samples share one, and that sharing changes no number."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagetext.conversations import IGNORED_LABEL
from llava_train.batch import RenderedSample, collate
from llava_train.packing import first_fit_decreasing, pack, padded_tokens

ROW_TOKENS = 500
LENGTHS = st.lists(st.integers(1, ROW_TOKENS), max_size=60)


def rendered(key: str, first: int, num_tokens: int, *, supervised_from: int = 1) -> RenderedSample:
    ids = list(range(first, first + num_tokens))
    labels = [IGNORED_LABEL] * supervised_from + ids[supervised_from:]
    return RenderedSample(key=key, input_ids=ids, labels=labels, image=None)


@settings(deadline=None)  # other work may share the machine
@given(LENGTHS)
def test_every_sample_has_one_row_and_no_row_too_much(lengths: list[int]) -> None:
    rows = pack(lengths, ROW_TOKENS)
    assert sorted(index for row in rows for index in row) == list(range(len(lengths)))
    assert all(sum(lengths[index] for index in row) <= ROW_TOKENS for row in rows)
    assert rows == pack(lengths, ROW_TOKENS)


@settings(deadline=None)  # other work may share the machine
@given(LENGTHS)
def test_packing_pads_no_more_than_a_row_each_or_the_widest_rows(lengths: list[int]) -> None:
    packed = padded_tokens(lengths, pack(lengths, ROW_TOKENS))
    assert packed >= sum(lengths)
    assert packed <= padded_tokens(lengths, first_fit_decreasing(lengths, ROW_TOKENS))
    assert packed <= padded_tokens(lengths, [[index] for index in range(len(lengths))])


def test_first_fit_decreasing_by_hand() -> None:
    # Longest first: 6, 5, 4, 3, 2 into rows of 10. 6; 5; 4 beside 6; 3 beside 5; 2 beside 5 and 3.
    assert first_fit_decreasing([4, 6, 3, 5, 2], 10) == [[1, 0], [3, 2, 4]]


def test_narrower_rows_are_taken_where_they_leave_less_padding() -> None:
    lengths = [700, 700, 500, 500]
    # The widest rows would hold three of these and one: 2 * 1904 tokens for 2400.
    assert padded_tokens(lengths, first_fit_decreasing(lengths, 2048)) == 3808
    assert pack(lengths, 2048) == [[0, 2], [1, 3]]


def test_packed_batch_tells_where_its_samples_lie() -> None:
    samples = [rendered("a", 100, 3), rendered("b", 200, 5), rendered("c", 300, 10)]
    batch = collate(samples, pad_id=0, max_row_tokens=11)
    assert batch.keys == ("c", "b", "a")
    assert batch.input_ids.tolist() == [
        [*range(300, 310), 0, 0, 0, 0, 0, 0],
        [*range(200, 205), 100, 101, 102, 0, 0, 0, 0, 0, 0, 0, 0],
    ]
    assert batch.position_ids is not None and batch.sequence_starts is not None
    assert batch.position_ids.tolist() == [[*range(10), *range(6)], [*range(5), *range(3), *range(8)]]
    assert batch.sequence_starts.tolist() == [0, 10, 16, 21, 24, 32]
    assert batch.longest_sequence_tokens == 10


def test_no_label_is_predicted_from_another_sample() -> None:
    # A text that is supervised from its first token: alone in its row nothing predicts that one.
    samples = [rendered("a", 10, 4, supervised_from=0), rendered("b", 20, 3, supervised_from=0)]
    alone, packed = collate(samples, pad_id=0), collate(samples, pad_id=0, max_row_tokens=7)
    assert len(packed.input_ids) == 1
    counts = [int((batch.labels[:, 1:] != IGNORED_LABEL).sum()) for batch in (alone, packed)]
    assert counts == [5, 5]


def test_nothing_packs_into_nothing() -> None:
    batch = collate([], pad_id=0, max_row_tokens=8)
    assert batch.input_ids.shape == (0, 8) and batch.images is None
    assert batch.position_ids is not None and batch.position_ids.shape == (0, 8)
    assert batch.sequence_starts is not None and batch.sequence_starts.tolist() == [0]


def test_images_follow_their_samples() -> None:
    samples = []
    for size in (2, 4, 3):
        image = np.full((3, 2, 2), size, dtype=np.uint8)
        labels = [IGNORED_LABEL] * size
        samples.append(RenderedSample(key=str(size), input_ids=[1] * size, labels=labels, image=image))
    batch = collate(samples, pad_id=0, max_row_tokens=6)
    assert batch.keys == ("4", "2", "3") and batch.images is not None
    assert batch.images[:, 0, 0, 0].tolist() == [4, 2, 3]


def test_sample_longer_than_a_row_is_the_renderer_s_to_cut() -> None:
    with pytest.raises(AssertionError, match="cut when it is rendered"):
        pack([9], 8)
