"""The output layer as training needs it: the loss of many answers without all their logits at once."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

CHUNK_LOGITS = 2**27
"""Logits that exist at once: 512 MiB in float32, and about four times that with their gradient in both precisions.

1046 tokens of LLaMA-3's vocabulary; more than a whole batch of the small vocabularies here, which are never cut.
"""


class AnswerSums(NamedTuple):
    """What a microbatch's supervised tokens sum to."""

    loss: Float[Tensor, ""]
    """Cross-entropy in float32."""
    num_correct: Float[Tensor, ""]
    """Tokens that were the most likely ones, without a gradient."""


class AnswerHead(nn.Linear):
    """A language model's output layer that can also score its own answers.

    Everything happens in one call of the layer, however many chunks it takes: engines that fetch the layer's weights
    around its call fetch them once, and equally often on ranks with unequally many tokens.
    """

    @classmethod
    def around(cls, output: nn.Module) -> "AnswerHead":
        """Return a head with the very weights of an output layer."""
        assert isinstance(output, nn.Linear), f"no plain output layer: {type(output).__name__}"
        head = cls(output.in_features, output.out_features, bias=output.bias is not None, device="meta")
        head.weight, head.bias = output.weight, output.bias
        return head

    def forward(  # type: ignore[override]  # what is asked for decides what is answered
        self, hidden: Float[Tensor, "*places width"], targets: Int[Tensor, " tokens"] | None = None
    ) -> Float[Tensor, "*places vocabulary"] | AnswerSums:
        """Return logits, or with targets the summed loss of all tokens.

        At most `CHUNK_LOGITS` logits exist at a time; where more are needed, the backward pass computes each chunk's
        again. Loss and gradient are those of all logits at once, up to the order of summation.
        """
        if targets is None:
            return super().forward(hidden)
        chunk_tokens = max(1, CHUNK_LOGITS // self.out_features)
        if len(targets) <= chunk_tokens:
            return self._sums(hidden, targets)
        chunks = zip(hidden.split(chunk_tokens), targets.split(chunk_tokens), strict=True)
        sums = [checkpoint(self._sums_alone, *chunk, use_reentrant=False, preserve_rng_state=False) for chunk in chunks]
        loss, num_correct = (torch.stack(parts).sum() for parts in zip(*sums, strict=True))
        return AnswerSums(loss, num_correct)

    def _sums(self, hidden: Float[Tensor, "tokens width"], targets: Int[Tensor, " tokens"]) -> AnswerSums:
        logits = super().forward(hidden).float()
        num_correct = (logits.detach().argmax(-1) == targets).sum().float()
        return AnswerSums(cross_entropy(logits, targets, reduction="sum"), num_correct)

    def _sums_alone(self, hidden: Float[Tensor, "tokens width"], targets: Int[Tensor, " tokens"]) -> AnswerSums:
        # Under autocast all chunks would share one converted copy of the weights, and with it sum their gradients in
        # its low precision; each its own copy sums them in float32.
        kind = hidden.device.type
        enabled, dtype = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)
        with torch.autocast(kind, dtype=dtype, enabled=enabled, cache_enabled=False):
            return self._sums(hidden, targets)
