import random
from itertools import pairwise
from operator import add
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagetext.merges import learn_merges
from imagetext.tokenizer_training import train_clip_bpe, train_llama_bpe, train_wordpiece


def slow_merges(words: dict[tuple[str, ...], int], num_merges: int) -> list[tuple[str, str]]:
    merges = []
    for _ in range(num_merges):
        counts: dict[tuple[str, str], int] = {}
        for word, weight in words.items():
            for pair in pairwise(word):
                counts[pair] = counts.get(pair, 0) + weight
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges.append(best)
        merged = {}
        for word, weight in words.items():
            text, left, right = "\x00".join(word), *best
            # Separators on both sides make every replacement a replacement of whole symbols.
            text = f"\x00{text}\x00".replace("\x00", "\x00\x00")
            text = text.replace(f"\x00{left}\x00\x00{right}\x00", f"\x00{left}{right}\x00")
            key = tuple(part for part in text.split("\x00") if part)
            merged[key] = merged.get(key, 0) + weight
        words = merged
    return merges


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.text("abc", min_size=1, max_size=7), st.integers(1, 5), min_size=1, max_size=6))
def test_merges_equal_those_of_the_plain_algorithm(words: dict[str, int]) -> None:
    symbols = {tuple(word): count for word, count in words.items()}
    assert learn_merges(symbols, 8, add) == slow_merges(symbols, 8)


def test_known_merges() -> None:
    words = {tuple("low"): 5, tuple("lower"): 2, tuple("newest"): 6, tuple("widest"): 3}
    assert learn_merges(words, 3, add) == [("e", "s"), ("es", "t"), ("l", "o")]


@pytest.mark.parametrize("train", [train_wordpiece, train_clip_bpe, train_llama_bpe])
def test_vocabulary_is_a_function_of_the_captions(train, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    captions = [
        "a red house beside two trees",
        "Buy now & save 50%!",
        "a blue boat on the sea",
        "na\u00efve caf\u00e9",
        "",
    ]
    train(captions, 700, tmp_path / "first")
    train(random.Random(0).sample(captions, len(captions)), 700, tmp_path / "second")
    assert (tmp_path / "first" / "tokenizer.json").read_bytes() == (tmp_path / "second" / "tokenizer.json").read_bytes()
