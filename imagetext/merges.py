"""Byte-pair merges, learned the same way every time.

The `tokenizers` trainers break ties by hash order: the same captions give another vocabulary in every process.
"""

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import Any

Pair = tuple[str, str]


def count_words(texts: Iterable[str], backend: Any, *, leading_space: bool = False) -> Counter[str]:
    """Count words as a `tokenizers.Tokenizer` normalises and cuts them; it must cut at white space.

    With `leading_space`, a word keeps the space before it, as in byte-level tokenizers after GPT-2.
    """
    mark = " " if leading_space else ""
    pieces = Counter(mark * (place > 0) + piece for text in texts for place, piece in enumerate(text.split()))
    words: Counter[str] = Counter()
    for piece, count in pieces.items():
        normalised = backend.normalizer.normalize_str(piece) if backend.normalizer else piece
        for word, _ in backend.pre_tokenizer.pre_tokenize_str(normalised):
            words[word] += count
    return words


def learn_merges(words: Mapping[tuple[str, ...], int], num_merges: int, join: Callable[[str, str], str]) -> list[Pair]:
    """Merge the commonest pair of neighbours, again and again; ties fall in alphabetical order.

    `words` are sequences of symbols with their counts, `join` names the symbol that a pair becomes
    (Sennrich et al. 2016, algorithm 1).
    """
    parts = [list(word) for word in words]
    weights = list(words.values())
    counts: Counter[Pair] = Counter()
    where: defaultdict[Pair, set[int]] = defaultdict(set)
    for index, part in enumerate(parts):
        for pair in pairwise(part):
            counts[pair] += weights[index]
            where[pair].add(index)
    queue = [(-count, pair) for pair, count in counts.items()]
    heapq.heapify(queue)
    merges: list[Pair] = []
    while queue and len(merges) < num_merges:
        count, pair = heapq.heappop(queue)
        if counts[pair] != -count or not count:
            continue
        merges.append(pair)
        changed: set[Pair] = set()
        for index in where.pop(pair):
            before, parts[index] = parts[index], _merged(parts[index], pair, join)
            for old in pairwise(before):
                counts[old] -= weights[index]
                changed.add(old)
            for new in pairwise(parts[index]):
                counts[new] += weights[index]
                where[new].add(index)
                changed.add(new)
        for other in changed:
            if counts[other]:
                heapq.heappush(queue, (-counts[other], other))
    return merges


def _merged(part: list[str], pair: Pair, join: Callable[[str, str], str]) -> list[str]:
    merged: list[str] = []
    index = 0
    while index < len(part):
        if tuple(part[index : index + 2]) == pair:
            merged.append(join(*pair))
            index += 2
        else:
            merged.append(part[index])
            index += 1
    return merged
