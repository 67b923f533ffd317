"""Keys and values of every slot, in one place that is written in and never copied while decoding goes on."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

LENGTH_MULTIPLE = 64
"""Slots have a multiple of this many places, so that longer prompts rarely make them grow."""


class KeyValueCache:
    """Per layer, keys and values (slots, groups, places, head); all slots are as long as the longest needs."""

    def __init__(
        self,
        *,
        num_layers: int,
        num_slots: int,
        num_groups: int,
        head_width: int,
        dtype: torch.dtype,
        device: torch.device,
    ):
        self._shape = (num_slots, num_groups, head_width)
        self._dtype, self._device = dtype, device
        self.length = 0
        self.keys = [self._blank(0) for _ in range(num_layers)]
        self.values = [self._blank(0) for _ in range(num_layers)]

    def reserve(self, length: int) -> bool:
        """Make slots at least so long, keeping what is in them; tell whether they had to grow."""
        if length <= self.length:
            return False
        length = -(-length // LENGTH_MULTIPLE) * LENGTH_MULTIPLE
        for tensors in (self.keys, self.values):
            for layer, old in enumerate(tensors):
                grown = self._blank(length)
                grown[:, :, : self.length] = old
                tensors[layer] = grown
        self.length = length
        return True

    def write(
        self,
        layer: int,
        slots: Int64[Tensor, " rows"],
        start: int,
        keys: Float[Tensor, "rows groups tokens head"],
        values: Float[Tensor, "rows groups tokens head"],
    ) -> None:
        """Write neighbouring tokens of some slots."""
        for tensors, fresh in ((self.keys, keys), (self.values, values)):
            tensors[layer].narrow(2, start, fresh.shape[2]).index_copy_(0, slots, fresh)

    def read(
        self, layer: int, slots: Int64[Tensor, " rows"], extent: int
    ) -> tuple[Float[Tensor, "rows groups places head"], Float[Tensor, "rows groups places head"]]:
        """Return a copy of the first places of some slots."""
        return self.keys[layer][slots, :, :extent], self.values[layer][slots, :, :extent]

    def places(self, positions: Int64[Tensor, " rows"]) -> Int64[Tensor, " rows_groups"]:
        """Return where one token of each of the first slots goes, its groups one by one, for `write_one`."""
        _, num_groups, _ = self._shape
        groups = torch.arange(len(positions) * num_groups, device=positions.device)
        return groups * self.length + positions.repeat_interleave(num_groups, output_size=len(groups))

    def write_one(
        self,
        layer: int,
        places: Int64[Tensor, " rows_groups"],
        keys: Float[Tensor, "rows groups head"],
        values: Float[Tensor, "rows groups head"],
    ) -> None:
        """Write one token of each of the first slots."""
        for tensors, fresh in ((self.keys, keys), (self.values, values)):
            tensors[layer].view(-1, fresh.shape[-1]).index_copy_(0, places, fresh.flatten(0, 1))

    def first(
        self, layer: int, num_rows: int, extent: int
    ) -> tuple[Float[Tensor, "rows groups places head"], Float[Tensor, "rows groups places head"]]:
        """Return the first places of the first slots, without a copy."""
        return self.keys[layer][:num_rows, :, :extent], self.values[layer][:num_rows, :, :extent]

    def copy(self, sources: Int64[Tensor, " rows"], targets: Int64[Tensor, " rows"], extent: int) -> None:
        """Copy the first places of some slots to others."""
        for tensors in (self.keys, self.values):
            for tensor in tensors:
                tensor.narrow(2, 0, extent).index_copy_(0, targets, tensor[sources, :, :extent])

    def _blank(self, length: int) -> Tensor:
        num_slots, num_groups, head_width = self._shape
        # Zeros: a place that was never written is masked, and what is masked must still be a number.
        return torch.zeros(num_slots, num_groups, length, head_width, dtype=self._dtype, device=self._device)
