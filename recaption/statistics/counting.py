"""Count the words of captions as they come by: lengths, vocabularies, commonest words and openings."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from imagetext.statistics import LengthStatistics, distinct_ngram_share, length_of, num_words, split_words
from imagetext.vocabulary import word_shares
from imagetext.words import words_of
from runtime import seeds
from runtime.intervals import Interval, mean_interval

NUM_GROUPS = 64
"""Groups of rows, drawn whole, that the interval of a vocabulary's share rests on."""
REPLICATES = 100
DISTINCT_CAPTIONS = 10_000
"""Captions whose n-grams are counted: the share of distinct ones falls with their number."""
NGRAM_LENGTHS = (1, 2, 3)
OPENING_WORDS = 3
NUM_COMMONEST = 25
BIN_WORDS = 10
"""Width of a bar in the distribution of lengths."""


@dataclass(frozen=True, kw_only=True)
class WordStatistics:
    """What was counted of one source's captions."""

    lengths: LengthStatistics
    """In words, as white space separates them."""
    mean_words: Interval
    length_shares: list[float]
    """Share of captions with 0-9, 10-19, ... words."""
    num_words: int
    """Words of letters, repeats counted."""
    num_distinct_words: int
    vocabulary_share: Interval
    """Distinct words over those of either source."""
    distinct_ngram_shares: dict[int, float]
    """Distinct n-grams over all, by n, of the first captions."""
    commonest_words: dict[str, float]
    """Share of all words, the commonest first."""
    commonest_openings: dict[str, float]
    """Share of captions that begin with these words, the commonest first."""


@dataclass
class CaptionCounter:
    """What was seen so far of one source."""

    lengths: list[int] = field(default_factory=list)
    words: Counter[str] = field(default_factory=Counter)
    openings: Counter[str] = field(default_factory=Counter)
    texts: list[str] = field(default_factory=list)
    groups: list[set[str]] = field(default_factory=lambda: [set() for _ in range(NUM_GROUPS)])

    def add(self, text: str, group: int) -> None:
        """Count one caption of a row of a group."""
        words = words_of(text)
        self.lengths.append(num_words(text))
        self.words.update(words)
        self.groups[group].update(words)
        opening = split_words(text)[:OPENING_WORDS]
        if opening:
            self.openings[" ".join(opening)] += 1
        if len(self.texts) < DISTINCT_CAPTIONS:
            self.texts.append(text)


def group_of(name: str) -> int:
    """Return the group of a row, by its name."""
    return seeds.derive("group", name) % NUM_GROUPS


def summarise(old: CaptionCounter, new: CaptionCounter) -> tuple[WordStatistics, WordStatistics]:
    """Return the statistics of two sources of which each saw at least one caption."""
    shares = word_shares(old.groups, new.groups, REPLICATES)
    first, second = (_of_source(counter, share) for counter, share in zip((old, new), shares, strict=True))
    return first, second


def _of_source(counter: CaptionCounter, vocabulary_share: Interval) -> WordStatistics:
    lengths = np.array(counter.lengths)
    bins = np.bincount(lengths // BIN_WORDS)
    total = sum(counter.words.values())
    return WordStatistics(
        lengths=length_of(lengths),
        mean_words=mean_interval(lengths.astype(np.float64)),
        length_shares=[float(share) for share in bins / len(lengths)],
        num_words=total,
        num_distinct_words=len(counter.words),
        vocabulary_share=vocabulary_share,
        distinct_ngram_shares={n: distinct_ngram_share(counter.texts, n) for n in NGRAM_LENGTHS},
        commonest_words={word: count / max(total, 1) for word, count in counter.words.most_common(NUM_COMMONEST)},
        commonest_openings={
            opening: count / len(lengths) for opening, count in counter.openings.most_common(NUM_COMMONEST)
        },
    )
