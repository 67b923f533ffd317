"""How much of two sources' joint vocabulary each source uses (the paper's statistic of section 4)."""

from collections.abc import Iterable, Sequence

import numpy as np
from scipy.sparse import csr_matrix

from imagetext.words import words_of
from runtime import seeds
from runtime.intervals import COVERAGE, Interval


def vocabulary_shares(first: Sequence[str], second: Sequence[str], replicates: int) -> tuple[Interval, Interval]:
    """Measure each source's distinct words over the union's, with intervals over pairs of captions.

    A bootstrap draw of n pairs holds fewer distinct words than n pairs do, in both sources; the interval is the
    spread of the replicates around their own mean, moved to the estimate.
    """
    words = [[set(words_of(text)) for text in texts] for texts in (first, second)]
    return word_shares(words[0], words[1], replicates)


def word_shares(
    first: Sequence[Iterable[str]], second: Sequence[Iterable[str]], replicates: int
) -> tuple[Interval, Interval]:
    """Measure as `vocabulary_shares` does, over pairs of sets of words: of a caption each, or of a group of captions.

    Groups are drawn whole, so that a corpus of any size costs as much as its groups' vocabularies.
    """
    vocabulary: dict[str, int] = {}
    tables = [_presence(sets, vocabulary) for sets in (first, second)]
    used = [_widened(table, len(vocabulary)) for table in tables]
    everything = np.ones((1, len(first)))
    estimate = _shares(everything, used)[:, 0]
    generator = seeds.numpy_generator("vocabulary")
    samples = np.concatenate(
        [
            _shares(generator.multinomial(len(first), np.full(len(first), 1.0 / len(first)), size=1), used)
            for _ in range(replicates)
        ],
        axis=1,
    )
    tail = (1.0 - COVERAGE) / 2.0
    low, high = np.quantile(samples, [tail, 1.0 - tail], axis=1) - samples.mean(axis=1) + estimate
    return tuple(Interval(float(estimate[i]), float(low[i]), float(min(high[i], 1.0))) for i in (0, 1))  # type: ignore[return-value]


def _presence(sets: Sequence[Iterable[str]], vocabulary: dict[str, int]) -> csr_matrix:
    columns = [[vocabulary.setdefault(word, len(vocabulary)) for word in words] for words in sets]
    pointers = np.cumsum([0, *map(len, columns)])
    indices = np.array([index for row in columns for index in row], dtype=np.int64)
    return csr_matrix((np.ones(len(indices)), indices, pointers), shape=(len(sets), len(vocabulary)))


def _widened(table: csr_matrix, width: int) -> csr_matrix:
    return csr_matrix((table.data, table.indices, table.indptr), shape=(table.shape[0], width))


def _shares(draws: np.ndarray, used: Sequence[csr_matrix]) -> np.ndarray:
    present = [np.asarray(draws @ table) > 0 for table in used]
    union = (present[0] | present[1]).sum(axis=1)
    return np.stack([each.sum(axis=1) / np.maximum(union, 1) for each in present])
