"""How much of a held-out set is known from a source's captions."""

from collections.abc import Sequence

import numpy as np

from imagetext.statistics import ngrams, split_words

NGRAM_LENGTH = 4


class Seen:
    """What a source's captions contain, read once and asked for every held-out set."""

    def __init__(self, captions: Sequence[str]) -> None:
        split = [split_words(caption) for caption in captions]
        self._ngrams = {ngram for words in split for ngram in ngrams(words, NGRAM_LENGTH)}
        self._captions = {tuple(words) for words in split}

    def ngram_share(self, tests: Sequence[str]) -> float:
        """Return the share of the test captions' n-grams, repeats counted, that occur in the source."""
        found = [ngram in self._ngrams for text in tests for ngram in ngrams(split_words(text), NGRAM_LENGTH)]
        return float(np.mean(found)) if found else 0.0

    def caption_share(self, tests: Sequence[str]) -> float:
        """Return the share of test captions that occur in the source as a whole, word for word."""
        return float(np.mean([tuple(split_words(text)) in self._captions for text in tests]))
