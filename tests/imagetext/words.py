"""A tokenizer simple enough to check by eye, and a transform, for the tests of this package."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from imagetext.tokenizers import TokenBatch
from imagetext.transforms import random_resized_crop


class WordTokenizer:
    """One token a word: its number of letters; 0 pads."""

    context_length = 6
    vocab_size = 64
    pad_id = 0

    def __init__(self) -> None:
        self.num_texts = 0

    def __call__(self, texts: Sequence[str]) -> TokenBatch:
        self.num_texts += len(texts)
        rows = [[len(word) for word in text.split()] for text in texts]
        ids = torch.zeros(len(rows), self.context_length, dtype=torch.int64)
        for index, row in enumerate(rows):
            kept = row[: self.context_length]
            ids[index, : len(kept)] = torch.tensor(kept, dtype=torch.int64)
        lengths = torch.tensor([min(len(row), self.context_length) for row in rows], dtype=torch.int64)
        return TokenBatch(
            ids, lengths, torch.tensor([len(row) > self.context_length for row in rows], dtype=torch.bool)
        )


def crop(image: Image.Image, generator: np.random.Generator) -> np.ndarray:
    """Return a random crop of 8 pixels."""
    return random_resized_crop(image, 8, generator)
