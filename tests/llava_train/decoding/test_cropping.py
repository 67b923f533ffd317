"""A batch shrinks only to sizes at which products were seen to keep every bit of a row."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from llava_train.decoding.cropping import steady_sizes
from llava_train.decoding.products import DenseProduct
from llava_train.decoding.weights import LanguageWeights, fuse_language
from tests.llava_train.decoding.random_llava import random_llava

WEIGHTS = fuse_language(random_llava(), device=torch.device("cpu"), dtype=torch.float32)


class Sensitive(DenseProduct):
    """A product whose results tell how many rows it was given, or where a row stood."""

    disturbed: Callable[[Tensor], Tensor]

    def __call__(self, inputs: Tensor) -> Tensor:
        return self.disturbed(super().__call__(inputs))


def weights_with(disturbed: Callable[[Tensor], Tensor]) -> LanguageWeights:
    head = Sensitive(WEIGHTS.head.weight)
    object.__setattr__(head, "disturbed", disturbed)
    return replace(WEIGHTS, head=head)


@pytest.mark.parametrize("num_rows", [1, 5, 32])
def test_a_batch_may_always_keep_its_rows(num_rows: int) -> None:
    sizes = steady_sizes(WEIGHTS, num_rows)
    assert sizes[-1] == num_rows and list(sizes) == sorted(set(sizes)) and sizes[0] >= 1


def test_sizes_that_change_a_bit_are_left_out() -> None:
    below_half = weights_with(lambda rows: rows if len(rows) >= 16 else rows.nextafter(torch.tensor(torch.inf)))
    assert set(steady_sizes(below_half, 32)) == {size for size in steady_sizes(WEIGHTS, 32) if size >= 16}


def test_a_product_that_tells_places_apart_keeps_all_rows() -> None:
    assert steady_sizes(weights_with(lambda rows: rows + torch.arange(len(rows)).unsqueeze(1)), 32) == (32,)
