"""The order of an epoch: a permutation, different in each, local, and without a seam."""

from hypothesis import given
from hypothesis import strategies as st

from imagetext.order import EpochOrder, Location

SIZES = st.lists(st.integers(0, 12), min_size=1, max_size=6).filter(any)


def order(sizes: list[int], seed: int = 0, window_samples: int = 5, shuffle: bool = True) -> EpochOrder:
    return EpochOrder(sizes, seed, window_samples=window_samples, shuffle=shuffle)


@given(SIZES, st.integers(0, 3), st.integers(1, 40))
def test_each_epoch_is_a_permutation(sizes: list[int], seed: int, window_samples: int) -> None:
    one = order(sizes, seed, window_samples)
    every = {(shard, row) for shard, size in enumerate(sizes) for row in range(size)}
    for epoch in range(3):
        located = [one.locate(epoch * one.num_samples + i) for i in range(one.num_samples)]
        assert {(at.shard_index, at.row_index) for at in located} == every
        assert {at.epoch for at in located} == {epoch}


@given(SIZES, st.lists(st.integers(0, 200), max_size=30))
def test_positions_can_be_asked_in_any_order(sizes: list[int], positions: list[int]) -> None:
    one = order(sizes)
    assert [one.locate(p) for p in positions] == [order(sizes).locate(p) for p in positions]


def test_without_shuffle_the_order_is_that_of_the_disk() -> None:
    one = order([2, 0, 1], shuffle=False)
    assert [one.locate(i) for i in range(4)] == [
        Location(0, 0, 0),
        Location(0, 0, 1),
        Location(0, 2, 0),
        Location(1, 0, 0),
    ]


def test_epochs_and_seeds_differ() -> None:
    def first(seed: int, epoch: int) -> list[Location]:
        one = order([50, 50], seed, 100)
        return [one.locate(epoch * 100 + i)._replace(epoch=0) for i in range(100)]

    assert len({tuple(first(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


def test_a_window_touches_few_shards() -> None:
    """Reading stays local: 20 samples of shards of ten reach over at most three shards."""
    one = order([10] * 50, window_samples=20)
    for start in range(0, 500, 20):
        assert len({one.locate(start + i).shard_index for i in range(20)}) <= 3
