"""One who reads captions and never looks: what the swap test must not reward."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from imagetext.statistics import split_words

ORDER = 3
BACKOFF = 0.4
"""Weight of each shorter history (Brants et al. 2007, "stupid backoff")."""


@dataclass(frozen=True, kw_only=True)
class BlindScore:
    """Share of pairs in which the true caption was found the likelier one, ties counting half; and how many pairs.

    A pair is one image's true and false caption; two images may share their captions, in turned places.
    """

    accuracy: float
    num_pairs: int

    @property
    def half_width(self) -> float:
        """Half of the 95 % interval of a fair coin over as many pairs."""
        return 1.96 * 0.5 / math.sqrt(self.num_pairs)


class BlindReader:
    """A trigram language model with backoff."""

    def __init__(self, captions: Iterable[str]) -> None:
        self._counts: Counter[tuple[str, ...]] = Counter()
        for caption in captions:
            words = _framed(caption)
            for length in range(1, ORDER + 1):
                self._counts.update(tuple(words[i : i + length]) for i in range(len(words) - length + 1))
        self._num_words = sum(count for ngram, count in self._counts.items() if len(ngram) == 1)

    def score(self, caption: str) -> float:
        """Return the caption's log score; higher is likelier."""
        words = _framed(caption)
        return sum(math.log(self._word_score(words, i)) for i in range(ORDER - 1, len(words)))

    def _word_score(self, words: Sequence[str], position: int) -> float:
        weight = 1.0
        for length in range(ORDER, 1, -1):
            ngram = tuple(words[position - length + 1 : position + 1])
            if self._counts[ngram]:
                return weight * self._counts[ngram] / self._counts[ngram[:-1]]
            weight *= BACKOFF
        return weight * (self._counts[(words[position],)] + 0.5) / (self._num_words + 1)


def score_blind(reader: BlindReader, pairs: Sequence[Sequence[str]]) -> BlindScore:
    """Return how often the reader prefers the true caption, the first of each pair."""
    gaps = [reader.score(true) - reader.score(false) for true, false in pairs]
    won = sum(0.5 if abs(gap) < 1e-9 else float(gap > 0) for gap in gaps)
    return BlindScore(accuracy=won / len(gaps), num_pairs=len(gaps))


def _framed(caption: str) -> list[str]:
    return ["<s>"] * (ORDER - 1) + split_words(caption) + ["</s>"]
