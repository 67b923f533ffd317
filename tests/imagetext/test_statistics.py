"""Caption statistics: known answers."""

import pytest

from imagetext.statistics import (
    distinct_ngram_share,
    length_statistics,
    ngram_overlap_share,
    num_words,
    split_words,
    vocabulary_share,
)


def test_words() -> None:
    assert split_words("It's a well-known Boat, no. 5!") == ["it's", "a", "well-known", "boat", "no", "5"]
    assert num_words("It's a boat , no?") == 5 and num_words("  ") == 0


def test_lengths() -> None:
    found = length_statistics(["", "a", "a b c", "a b c d e f g h"])
    assert (found.count, found.mean, found.median, found.maximum, found.empty_share) == (4, 3.0, 2.0, 8, 0.25)
    assert found.percentile_95 == pytest.approx(7.25)


def test_vocabulary_share_of_the_union() -> None:
    assert vocabulary_share(["red boat", "red house"], ["Red tree"]) == 3 / 4
    assert vocabulary_share([], []) == 0.0


def test_distinct_ngrams() -> None:
    assert distinct_ngram_share(["a b a b"], 2) == 2 / 3
    assert distinct_ngram_share(["a b", "a b"], 2) == 1 / 2
    assert distinct_ngram_share(["a"], 2) == 0.0


def test_overlap_with_a_test_set() -> None:
    """Of the test set's bigrams (a red), (red boat), (red boat) the last two are known."""
    assert ngram_overlap_share(["the red boat"], ["A red boat", "red boat"], 2) == 2 / 3
    assert ngram_overlap_share(["x"], [], 2) == 0.0
