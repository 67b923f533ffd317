"""The reading order: every sample once, like lengths together, the same for everyone."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from llava_train.order import ReadingOrder, epoch_order


@given(st.lists(st.integers(1, 500), min_size=1, max_size=300), st.integers(1, 17), st.integers(0, 3))
def test_every_sample_comes_exactly_once(lengths: list[int], batch_size: int, epoch: int) -> None:
    order = epoch_order(lengths, batch_size, 7, "detail", epoch=epoch)
    assert sorted(order.tolist()) == list(range(len(lengths)))
    assert order.tolist() == epoch_order(lengths, batch_size, 7, "detail", epoch=epoch).tolist()


def test_epochs_seeds_and_phases_read_differently() -> None:
    lengths = list(range(200))
    orders = {
        tuple(epoch_order(lengths, 8, seed, phase, epoch=epoch).tolist())
        for seed in (0, 1)
        for phase in ("align", "detail")
        for epoch in (0, 1)
    }
    assert len(orders) == 8


def test_batches_hold_like_lengths() -> None:
    lengths = np.random.default_rng(0).integers(10, 300, 4096).tolist()
    batches = np.asarray(lengths)[epoch_order(lengths, 32, 0, epoch=0)].reshape(-1, 32)
    padding_share = 1 - np.mean(lengths) / batches.max(axis=1).mean()
    unsorted = 1 - np.mean(lengths) / np.asarray(lengths).reshape(-1, 32).max(axis=1).mean()
    assert unsorted > 0.4
    assert padding_share < 0.1


def test_short_samples_come_first_for_as_many_updates_as_asked() -> None:
    lengths = [3, 9, 4, 9, 9, 5, 9, 9]
    order = ReadingOrder(lengths, 3, (0, "align"), short=[0, 2, 5], num_short_updates=2)
    read = [order.sample(position) for position in range(6 + 16)]
    assert [sorted(read[start : start + 3]) for start in (0, 3)] == [[0, 2, 5]] * 2
    plain = ReadingOrder(lengths, 3, (0, "align"))
    assert read[6:] == [plain.sample(position) for position in range(16)]
    assert sorted(read[6:14]) == list(range(8))
