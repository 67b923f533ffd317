"""How far a batch may shrink as its rows end without one bit of the others changing: tried out, not assumed.

A matrix product may add up in another order for another number of rows, or for rows elsewhere in it. Everything else of
a step is computed row by row, attention as a product of each row's own.
"""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from llava_train.decoding.attending import attend_to_places
from llava_train.decoding.products import Product
from llava_train.decoding.weights import LanguageWeights

_NUM_SIZES = 8
_PLACES = 96
"""Places that the tried attention looks at; each row's product is its own, whatever their number."""

Rows = Float[Tensor, "rows ..."]


def steady_sizes(weights: LanguageWeights, num_rows: int) -> tuple[int, ...]:
    """Return the numbers of rows, `num_rows` among them, to which a step may be cut with every bit of a row kept.

    Eighths of `num_rows` are tried on random numbers, with rows also in other places.
    """
    candidates = {-(-num_rows * eighths // _NUM_SIZES) for eighths in range(1, _NUM_SIZES)} - {num_rows}
    trials = [(work, rows, work(rows)) for work, rows in _works(weights, num_rows)]
    if not all(torch.equal(work(rows.flip(0)), whole.flip(0)) for work, rows, whole in trials):
        return (num_rows,)
    steady = [
        size
        for size in candidates
        if all(
            torch.equal(work(rows[:size]), whole[:size]) and torch.equal(work(rows[-size:]), whole[-size:])
            for work, rows, whole in trials
        )
    ]
    return (*sorted(steady), num_rows)


def _works(weights: LanguageWeights, num_rows: int) -> Iterator[tuple[Callable[[Rows], Rows], Rows]]:
    """Yield what a step does to rows, each with rows to do it to; blocks have all the same shapes."""
    layer = weights.layers[0]
    width = weights.embeddings.shape[1]
    num_heads, num_groups, head_width = weights.num_heads, weights.num_groups, weights.head_width
    generator = torch.Generator(weights.embeddings.device).manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        table = weights.embeddings
        return torch.randn(num_rows, *shape, generator=generator, device=table.device, dtype=table.dtype)

    def attend(rows: Rows) -> Rows:
        queries, keys, values = rows.split((num_heads, num_groups * _PLACES, num_groups * _PLACES), dim=1)
        shape = (len(rows), num_groups, _PLACES, head_width)
        mask = rows.new_zeros(len(rows) * num_groups, 1, _PLACES)
        return attend_to_places(queries.unsqueeze(2), keys.reshape(shape), values.reshape(shape), mask)

    yield layer.queries_keys_values, drawn(width)
    yield attend, drawn(num_heads + 2 * num_groups * _PLACES, head_width)
    inner = layer.down.weight.shape[1]
    for product, size in ((layer.output, num_heads * head_width), (layer.down, inner)):
        yield partial(_onto, product, width), drawn(width + size)
    yield layer.gate_up, drawn(width)
    yield weights.head, drawn(width)


def _onto(product: Product, width: int, rows: Rows) -> Rows:
    return product.onto(rows[:, :width].contiguous(), rows[:, width:].contiguous())
