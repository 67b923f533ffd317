"""The language model's passes over cached slots: a stretch of prompt for some slots, or one token for each."""

from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import embedding
from transformers import LlavaForConditionalGeneration

from llava_train.decoding.attending import attend_causally, attend_to_places, mask_for
from llava_train.decoding.cache import KeyValueCache
from llava_train.decoding.pointwise import pointwise_for
from llava_train.decoding.weights import LanguageWeights, LayerWeights


class LanguagePasses:
    """Run a captioner's language model without its modules: few operations, fixed shapes, no wait for the device."""

    def __init__(self, weights: LanguageWeights, llava: LlavaForConditionalGeneration):
        self.weights = weights
        self._rotary: Any = llava.model.language_model.rotary_emb
        self._pointwise = pointwise_for(weights.embeddings.device, weights.embeddings.dtype)
        self._cosines = self._sines = weights.embeddings.new_zeros(0, 1, weights.head_width)

    def new_cache(self, num_slots: int) -> KeyValueCache:
        """Return a cache of this model's shape with slots of no length."""
        weights = self.weights
        return KeyValueCache(
            num_layers=len(weights.layers),
            num_slots=num_slots,
            num_groups=weights.num_groups,
            head_width=weights.head_width,
            dtype=weights.embeddings.dtype,
            device=weights.embeddings.device,
        )

    def reserve_positions(self, length: int) -> None:
        """Compute the turns of so many positions, as the published model computes them."""
        table = self.weights.embeddings
        cosines, sines = self._rotary(table.new_zeros(1), torch.arange(length, device=table.device).unsqueeze(0))
        sines = sines[0].unsqueeze(1).clone()
        sines[..., : self.weights.head_width // 2].neg_()
        self._cosines, self._sines = cosines[0].unsqueeze(1), sines

    def embed(self, tokens: Int64[Tensor, "..."]) -> Float[Tensor, "... width"]:
        """Return the table's rows."""
        return embedding(tokens, self.weights.embeddings)

    def logits(self, hidden: Float[Tensor, "rows width"]) -> Float[Tensor, "rows vocabulary"]:
        """Return the scores of every next token."""
        return self.weights.head(self._normed(hidden, self.weights.norm))

    def extend(
        self,
        cache: KeyValueCache,
        slots: Int64[Tensor, " rows"],
        embeddings: Float[Tensor, "rows tokens width"],
        *,
        start: int,
        last: Int64[Tensor, " rows"] | None,
    ) -> Float[Tensor, "rows width"] | None:
        """Run a stretch of each row's prompt that begins at `start`, and keep its keys and values in the row's slot.

        Returns the last hidden state of the token at index `last` of each row's stretch, without the final norm; a
        stretch that goes on elsewhere has none to ask for. In the last block, only keys and values are computed for the
        other tokens: nothing reads more of them. Tokens behind `last` are padding, seen by no other.
        """
        stretch = _Stretch(cache, slots, start, embeddings.shape[1], self._cosines, self._sines)
        hidden = embeddings.flatten(0, 1)
        *first_layers, last_layer = self.weights.layers
        for index, layer in enumerate(first_layers):
            hidden = self._extend_layer(stretch, index, layer, hidden)
        return self._end_of_rows(stretch, len(first_layers), last_layer, hidden, last)

    def step(
        self,
        cache: KeyValueCache,
        tokens: Int64[Tensor, " rows"],
        positions: Int64[Tensor, " rows"],
        extent: int,
    ) -> Float[Tensor, "rows width"]:
        """Run one token of each of the first slots, at its position, and return its hidden state before the final norm.

        `extent` is more than any of the positions: what lies behind it is not looked at.
        """
        weights = self.weights
        cosines, sines = self._cosines[positions], self._sines[positions]
        places = cache.places(positions)
        seen = torch.arange(extent, device=positions.device) <= positions.view(-1, 1, 1)
        mask = mask_for(
            seen, num_heads=weights.num_heads, num_groups=weights.num_groups, dtype=weights.embeddings.dtype
        )
        hidden = self.embed(tokens)
        for index, layer in enumerate(weights.layers):
            queries, keys, values = self._projected(layer, hidden, (len(tokens),), cosines, sines)
            cache.write_one(index, places, keys, values)
            mixed = attend_to_places(queries.unsqueeze(2), *cache.first(index, len(tokens), extent), mask)
            hidden = self._after_attention(layer, hidden, mixed.flatten(1))
        return hidden

    def _extend_layer(
        self, stretch: "_Stretch", index: int, layer: LayerWeights, hidden: Float[Tensor, "rows_tokens width"]
    ) -> Float[Tensor, "rows_tokens width"]:
        queries, keys, values = (
            heads.transpose(1, 2)
            for heads in self._projected(layer, hidden, stretch.shape, stretch.cosines, stretch.sines)
        )
        stretch.cache.write(index, stretch.slots, stretch.start, keys, values)
        if stretch.start == 0:
            mixed = attend_causally(queries, keys, values)
        else:
            places = torch.arange(stretch.end, device=hidden.device)
            own = torch.arange(stretch.start, stretch.end, device=hidden.device).unsqueeze(1)
            mixed = self._attend_in_slots(stretch, index, queries, (places <= own).expand(len(stretch.slots), -1, -1))
        return self._after_attention(layer, hidden, mixed.transpose(1, 2).flatten(2).flatten(0, 1))

    def _end_of_rows(
        self,
        stretch: "_Stretch",
        index: int,
        layer: LayerWeights,
        hidden: Float[Tensor, "rows_tokens width"],
        last: Int64[Tensor, " rows"] | None,
    ) -> Float[Tensor, "rows width"] | None:
        """Run the last block: keys and values of every token, and the rest for the last token of each row alone."""
        weights = self.weights
        num_query_outputs = weights.num_heads * weights.head_width
        num_outputs = num_query_outputs + 2 * weights.num_groups * weights.head_width
        normed = self._normed(hidden, layer.attention_norm)
        keys_values = layer.queries_keys_values.outputs(num_query_outputs, num_outputs)(normed)
        keys, values = keys_values.view(*stretch.shape, 2, weights.num_groups, weights.head_width).unbind(2)
        keys = self._turned(keys, layer.key_norm, stretch.cosines, stretch.sines)
        stretch.cache.write(index, stretch.slots, stretch.start, keys.transpose(1, 2), values.transpose(1, 2))
        if last is None:
            return None
        ends = torch.arange(len(last), device=last.device) * stretch.shape[1] + last
        queries = layer.queries_keys_values.outputs(0, num_query_outputs)(normed[ends])
        own = stretch.start + last
        queries = self._turned(
            queries.unflatten(1, (weights.num_heads, -1)), layer.query_norm, self._cosines[own], self._sines[own]
        )
        seen = torch.arange(stretch.end, device=last.device) <= own.view(-1, 1, 1)
        mixed = self._attend_in_slots(stretch, index, queries.unsqueeze(2), seen)
        return self._after_attention(layer, hidden[ends], mixed.flatten(1))

    def _attend_in_slots(self, stretch: "_Stretch", index: int, queries: Tensor, seen: Tensor) -> Tensor:
        keys, values = stretch.cache.read(index, stretch.slots, stretch.end)
        weights = self.weights
        mask = mask_for(seen, num_heads=weights.num_heads, num_groups=weights.num_groups, dtype=queries.dtype)
        return attend_to_places(queries, keys, values, mask)

    def _projected(
        self, layer: LayerWeights, hidden: Tensor, shape: tuple[int, ...], cosines: Tensor, sines: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values (*shape, heads or groups, head), the first two turned by their positions."""
        weights = self.weights
        projected = layer.queries_keys_values(self._normed(hidden, layer.attention_norm))
        heads = projected.view(*shape, -1, weights.head_width)
        values = heads[..., weights.num_heads + weights.num_groups :, :]
        both = heads[..., : weights.num_heads + weights.num_groups, :]
        if layer.query_norm is None:
            both = self._pointwise.turn(both, cosines, sines)
            return both[..., : weights.num_heads, :], both[..., weights.num_heads :, :], values
        queries = self._turned(both[..., : weights.num_heads, :], layer.query_norm, cosines, sines)
        keys = self._turned(both[..., weights.num_heads :, :], layer.key_norm, cosines, sines)
        return queries, keys, values

    def _turned(self, heads: Tensor, norm: Tensor | None, cosines: Tensor, sines: Tensor) -> Tensor:
        if norm is not None:
            heads = self._normed(heads, norm)
        return self._pointwise.turn(heads, cosines, sines)

    def _after_attention(self, layer: LayerWeights, hidden: Tensor, mixed: Tensor) -> Tensor:
        hidden = layer.output.onto(hidden, mixed)
        gate_up = layer.gate_up(self._normed(hidden, layer.mlp_norm))
        return layer.down.onto(hidden, self._pointwise.gate(gate_up))

    def _normed(self, hidden: Tensor, weight: Tensor) -> Tensor:
        return self._pointwise.norm(hidden, weight, self.weights.norm_epsilon)


class _Stretch:
    """Where a stretch of tokens lies: its slots, its first place, and the turns of its positions."""

    def __init__(
        self, cache: KeyValueCache, slots: Tensor, start: int, num_tokens: int, cosines: Tensor, sines: Tensor
    ):
        self.cache = cache
        self.slots = slots
        self.start = start
        self.end = start + num_tokens
        self.shape = (len(slots), num_tokens)
        self.cosines = cosines[start : self.end]
        self.sines = sines[start : self.end]
