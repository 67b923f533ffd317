"""A batch that goes wrong gives all the captions it can, and names what is at fault."""

import math
from collections import Counter
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recaption.captioners.base import Answered, Caption, CaptionerLostError, Failed, Hole, Request
from recaption.captioners.isolation import answer_batch
from recaption.captioners.positions import Place


def caption(text: str) -> Caption:
    return Caption(text=text, finish_reason="stop", num_tokens=1, mean_logprob=-0.5)


class FakeModel:
    """Fails on poisonous tickets, and on more rows than it has memory for."""

    def __init__(self, poison: set[int], memory_rows: int):
        self.poison = poison
        self.memory_rows = memory_rows
        self.asked: Counter[int] = Counter()

    def ask(self, batch: Sequence[Place]) -> list[tuple[Caption, ...]]:
        tickets = [place.ticket for place in batch if isinstance(place, Request)]
        self.asked.update(tickets)
        if len(batch) > self.memory_rows:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        if self.poison & set(tickets):
            raise ValueError("a picture without pixels")
        return [(caption(f"caption {ticket}"),) for ticket in tickets]


def batch_of(size: int) -> list[Place]:
    return [Request(ticket=ticket, picture=None, prompts=("What?",)) for ticket in range(size)]


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 33), st.sets(st.integers(0, 32)), st.integers(1, 40))
def test_healthy_rows_are_answered_and_poisonous_ones_named_within_the_cap(
    size: int, poison: set[int], memory_rows: int
) -> None:
    model = FakeModel(poison, memory_rows)
    results = list(answer_batch(batch_of(size), model.ask))
    assert [result.ticket for result in results] == list(range(size))
    for result in results:
        if result.ticket in poison:
            assert isinstance(result, Failed)
            assert (result.kind, result.message) == ("rejected", "ValueError: a picture without pixels")
        else:
            assert isinstance(result, Answered) and result.captions[0].text == f"caption {result.ticket}"
    assert max(model.asked.values()) <= math.ceil(math.log2(size)) + 1 if size > 1 else 1


def test_a_row_that_never_fits_is_out_of_memory() -> None:
    results = list(answer_batch(batch_of(2), FakeModel(set(), memory_rows=0).ask))
    assert {(result.ticket, result.kind) for result in results if isinstance(result, Failed)} == {
        (0, "out_of_memory"),
        (1, "out_of_memory"),
    }


def test_memory_refused_by_the_cpus_allocator_is_told_from_a_bad_row() -> None:
    def ask(batch: Sequence[Place]) -> list[tuple[Caption, ...]]:
        torch.empty(2**60)
        raise AssertionError("a machine with an exabyte of memory")

    (result,) = answer_batch(batch_of(1), ask)
    assert isinstance(result, Failed) and result.kind == "out_of_memory"


def test_holes_are_passed_over() -> None:
    batch: list[Place] = [Hole(), *batch_of(2), Hole()]
    assert [result.ticket for result in answer_batch(batch, FakeModel({0}, 4).ask)] == [0, 1]


@pytest.mark.parametrize(
    "message", ["CUDA error: an illegal memory access was encountered", "CUDNN_STATUS_EXECUTION_FAILED"]
)
def test_a_broken_device_is_not_held_against_a_row(message: str) -> None:
    def ask(batch: Sequence[Place]) -> list[tuple[Caption, ...]]:
        raise RuntimeError(message)

    with pytest.raises(CaptionerLostError, match=message[:10]):
        list(answer_batch(batch_of(4), ask))
