"""Tokenize each distinct caption once."""

from collections.abc import Sequence

import torch

from imagetext.tokenizers import TextTokenizer, TokenBatch

_MAX_TEXTS = 100_000
"""Texts that are remembered, the first to come: a small data set fits, a web-scale one never repeats in time."""


class CachedTokenizer:
    """Wrap a tokenizer so that a text which comes again costs a look-up."""

    def __init__(self, tokenizer: TextTokenizer):
        self.context_length = tokenizer.context_length
        self.vocab_size = tokenizer.vocab_size
        self.pad_id = tokenizer.pad_id
        self._tokenizer = tokenizer
        self._rows: dict[str, tuple[torch.Tensor, int, bool]] = {}

    def __call__(self, texts: Sequence[str]) -> TokenBatch:
        """Tokenize the texts."""
        fresh = list(dict.fromkeys(text for text in texts if text not in self._rows))
        rows = dict(zip(fresh, _rows(self._tokenizer(fresh)), strict=True)) if fresh else {}
        room = _MAX_TEXTS - len(self._rows)
        self._rows.update(list(rows.items())[:room])
        found = [rows[text] if text in rows else self._rows[text] for text in texts]
        if not found:
            return self._tokenizer([])
        ids = torch.stack([row for row, _, _ in found]).to(torch.int64)
        lengths = torch.tensor([length for _, length, _ in found], dtype=torch.int64)
        return TokenBatch(ids, lengths, torch.tensor([truncated for _, _, truncated in found], dtype=torch.bool))


def _rows(batch: TokenBatch) -> list[tuple[torch.Tensor, int, bool]]:
    # int32 halves what is remembered; clone, since a row of a batch keeps the whole batch alive.
    ids = batch.ids.to(torch.int32)
    return [
        (row.clone(), length, truncated)
        for row, length, truncated in zip(ids, batch.lengths.tolist(), batch.truncated.tolist(), strict=True)
    ]
