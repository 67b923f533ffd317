"""The reading order: every sample once, like lengths together, the same for everyone."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llava_train.order import Portion, ReadingOrder, epoch_order

SEED = (0, "align")


def portions(*sizes: int, weights: Sequence[float] | None = None) -> list[Portion]:
    starts = np.cumsum([0, *sizes])
    places = [np.arange(start, start + size) for start, size in zip(starts, sizes)]
    return [Portion(place, weight) for place, weight in zip(places, weights or [1.0] * len(sizes))]


def epoch_of(order: ReadingOrder, epoch: int) -> list[int]:
    first = epoch * order.num_samples
    return [order.sample(position) for position in range(first, first + order.num_samples)]


@given(st.lists(st.integers(1, 500), min_size=1, max_size=300), st.integers(1, 17), st.integers(0, 3))
def test_every_sample_comes_exactly_once(values: list[int], batch_size: int, epoch: int) -> None:
    lengths = np.array(values)
    order = epoch_order(lengths, batch_size, 7, "detail", epoch=epoch)
    assert sorted(order.tolist()) == list(range(len(lengths)))
    assert order.tolist() == epoch_order(lengths, batch_size, 7, "detail", epoch=epoch).tolist()


def test_the_order_of_an_epoch_stays_what_it_was() -> None:
    """Written down from the first version of the order: a run that continues must not change its mind."""
    lengths = np.array([5, 3, 9, 1, 7, 2, 8, 6, 4, 0])
    order = ReadingOrder(lengths, 3, SEED, portions(10))
    assert [epoch_of(order, epoch) for epoch in (0, 1)] == [
        [1, 8, 0, 9, 3, 5, 2, 7, 4, 6],
        [2, 1, 8, 0, 7, 4, 6, 9, 3, 5],
    ]


def test_epochs_seeds_and_phases_read_differently() -> None:
    lengths = np.arange(200)
    orders = {
        tuple(epoch_order(lengths, 8, seed, phase, epoch=epoch).tolist())
        for seed in (0, 1)
        for phase in ("align", "detail")
        for epoch in (0, 1)
    }
    assert len(orders) == 8


def test_batches_hold_like_lengths() -> None:
    lengths = np.random.default_rng(0).integers(10, 300, 4096)
    batches = lengths[epoch_order(lengths, 32, 0, epoch=0)].reshape(-1, 32)
    padding_share = 1 - np.mean(lengths) / batches.max(axis=1).mean()
    unsorted = 1 - np.mean(lengths) / lengths.reshape(-1, 32).max(axis=1).mean()
    assert unsorted > 0.4
    assert padding_share < 0.1


def test_short_samples_come_first_for_as_many_updates_as_asked() -> None:
    lengths = np.array([3, 9, 4, 9, 9, 5, 9, 9])
    order = ReadingOrder(lengths, 3, SEED, portions(8), short=[Portion(np.array([0, 2, 5]), 1.0)], num_short_updates=2)
    read = [order.sample(position) for position in range(6 + 16)]
    assert [sorted(read[start : start + 3]) for start in (0, 3)] == [[0, 2, 5]] * 2
    plain = ReadingOrder(lengths, 3, SEED, portions(8))
    assert read[6:] == [plain.sample(position) for position in range(16)]
    assert sorted(read[6:14]) == list(range(8))


@pytest.mark.parametrize("weight", [0.1, 0.25, 0.5, 0.7, 1.0, 1.5, 2.0, 3.3])
def test_a_weight_is_how_often_an_epoch_reads_a_file(weight: float) -> None:
    order = ReadingOrder(np.arange(60), 8, SEED, portions(20, 40, weights=[1.0, weight]))
    assert order.num_samples == 20 + round(40 * weight)
    total: Counter[int] = Counter()
    for epoch in range(12):
        read = Counter(epoch_of(order, epoch))
        assert [read[sample] for sample in range(20)] == [1] * 20, "of weight 1 all come once"
        assert {read[sample] for sample in range(20, 60)} <= {int(weight), -int(-weight // 1)}
        total += read
        times = [total[sample] for sample in range(20, 60)]
        assert max(times) - min(times) <= 1, "no sample is ahead of another by more than one turn"


def test_thinned_files_take_turns_and_are_read_the_same_by_everyone() -> None:
    lengths = np.arange(40)
    first, second = (ReadingOrder(lengths, 8, SEED, portions(40, weights=[0.5])) for _ in range(2))
    assert [first.sample(position) for position in range(70)] == [second.sample(place) for place in range(70)]
    assert set(epoch_of(first, 0)) | set(epoch_of(first, 1)) == set(range(40))
    assert epoch_of(first, 0) != epoch_of(first, 2), "the same half, shuffled anew"
    other = ReadingOrder(lengths, 8, (1, "align"), portions(40, weights=[0.5]))
    assert set(epoch_of(first, 0)) != set(epoch_of(other, 0))


def test_weights_of_one_change_nothing() -> None:
    lengths = np.arange(30)[::-1].copy()
    one, several = ReadingOrder(lengths, 4, SEED, portions(30)), ReadingOrder(lengths, 4, SEED, portions(10, 20))
    assert [one.sample(position) for position in range(90)] == [several.sample(position) for position in range(90)]


def test_no_file_is_thinned_to_nothing() -> None:
    order = ReadingOrder(np.arange(13), 4, SEED, portions(10, 3, weights=[1.0, 0.01]))
    assert [sum(sample >= 10 for sample in epoch_of(order, epoch)) for epoch in range(6)] == [1] * 6
    assert {sample for epoch in range(3) for sample in epoch_of(order, epoch)} == set(range(13))
