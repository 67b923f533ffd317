"""What can be said of captions by counting: lengths, vocabularies, repetition, overlap between sets."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

PAPER_STATISTICS: dict[str, tuple[float | None, float | None]] = {
    "mean length (words)": (10.22, 49.43),
    "share of the union vocabulary (%)": (None, 82.86),
    "CLIP-L score": (50.43, 49.57),
    "LongCLIP-L score": (10.09, 89.91),
    "GPT-4V rating (1-5)": (3.71, 4.14),
}
"""arXiv 2406.08478, section 4: (original, recaption). The two CLIP rows add up to 100, so they are shares of a two-way
choice."""

_WORD = re.compile(r"\w+(?:['’-]\w+)*")


@dataclass(frozen=True, kw_only=True)
class LengthStatistics:
    """Describe caption lengths in words."""

    count: int
    mean: float
    median: float
    percentile_95: float
    maximum: int
    empty_share: float


def split_words(text: str) -> list[str]:
    """Return a text's words in lower case, punctuation left out."""
    return [match.group().lower() for match in _WORD.finditer(text)]


def num_words(text: str) -> int:
    """Return a caption's length as the paper counts it: pieces between white space."""
    return len(text.split())


def length_statistics(texts: Sequence[str]) -> LengthStatistics:
    """Return lengths of a non-empty set of captions."""
    return length_of(np.array([num_words(text) for text in texts]))


def length_of(lengths: Int[np.ndarray, " captions"]) -> LengthStatistics:
    """Return what a non-empty set of lengths in words comes to."""
    return LengthStatistics(
        count=len(lengths),
        mean=float(lengths.mean()),
        median=float(np.median(lengths)),
        percentile_95=float(np.percentile(lengths, 95)),
        maximum=int(lengths.max()),
        empty_share=float((lengths == 0).mean()),
    )


def vocabulary(texts: Iterable[str]) -> set[str]:
    """Return the distinct words of a set of captions."""
    return {word for text in texts for word in split_words(text)}


def vocabulary_share(texts: Iterable[str], others: Iterable[str]) -> float:
    """Return the share of both sets' joint vocabulary that the first set uses (arXiv 2406.08478, section 4)."""
    own, other = vocabulary(texts), vocabulary(others)
    union = own | other
    return len(own) / len(union) if union else 0.0


def distinct_ngram_share(texts: Iterable[str], length: int) -> float:
    """Return distinct-n: distinct n-grams over all n-grams of a set of captions (arXiv 1510.03055); 0 without any."""
    counted, distinct = 0, set()
    for text in texts:
        grams = ngrams(split_words(text), length)
        counted += len(grams)
        distinct.update(grams)
    return len(distinct) / counted if counted else 0.0


def ngram_overlap_share(texts: Iterable[str], test_texts: Iterable[str], length: int) -> float:
    """Return the share of a test set's n-grams, repeats counted, that a set of captions holds too; 0 without any."""
    known = {gram for text in texts for gram in ngrams(split_words(text), length)}
    asked = [gram in known for text in test_texts for gram in ngrams(split_words(text), length)]
    return sum(asked) / len(asked) if asked else 0.0


def ngrams(words: Sequence[str], length: int) -> list[tuple[str, ...]]:
    """Return the runs of `length` neighbouring words."""
    return [tuple(words[start : start + length]) for start in range(len(words) - length + 1)]
