"""All tensors of a batch are moved, however deep, and nothing else is copied."""

from dataclasses import dataclass

import torch
from torch import Tensor

from runtime.moving import to_device

META = torch.device("meta")


@dataclass(frozen=True)
class Group:
    """Texts of one kind."""

    ids: Tensor
    words: list[str]


@dataclass(frozen=True)
class Batch:
    """Pictures with texts of several kinds."""

    pixels: Tensor
    keys: tuple[str, ...]
    first: Group
    further: tuple[Group, ...]
    masks: tuple[Tensor, ...] = ()


def test_tensors_at_any_depth_are_moved() -> None:
    group = Group(torch.zeros(2), ["a"])
    batch = Batch(torch.zeros(3), ("k",), group, (group, Group(torch.ones(4), ["b"])), (torch.zeros(1),))
    moved = to_device(batch, META)
    tensors = [moved.pixels, moved.first.ids, *(part.ids for part in moved.further), *moved.masks]
    assert [tensor.device.type for tensor in tensors] == ["meta"] * 5
    assert [tuple(tensor.shape) for tensor in tensors] == [(3,), (2,), (2,), (4,), (1,)]
    assert moved.keys is batch.keys and moved.first.words is group.words


def test_what_holds_no_tensors_is_handed_back() -> None:
    batch = Batch(torch.zeros(1), (), Group(torch.zeros(1), []), ())
    assert to_device(batch.keys, META) == () and to_device("text", META) == "text"
    assert to_device(Batch, META) is Batch
