"""Captions that say the same again and again, and where they begin to."""

import re
from collections.abc import Sequence

from imagetext.statistics import ngrams

MAX_PERIOD_WORDS = 20
MIN_REPETITIONS = 3
MIN_LOOP_WORDS = 8
"""Words that a loop at the end of a caption has at least: "very, very, very" is emphasis."""
REPEATED_SHARE_MAX = 0.4
"""Share of a caption's runs of four words that are not the first of their kind, from which it loops. The dullest of
20,000 captions of one grammar had 0.36."""
MIN_RUNS = 16
"""Runs of four words without which that share says nothing."""
MIN_SENTENCE_WORDS = 6
"""Words of a sentence that is a loop wherever it stands three times; shorter ones have to stand in turn."""

_WORD = re.compile(r"\w+(?:['’-]\w+)*")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")
_MARKS = '.!?"”’)'
_CHARACTERS = re.compile(r"(\S{1,12}?)\1{9,}")
"""One to twelve characters without a blank, ten times in a row: a loop in a script that has no blanks, or of marks."""


def find_loop(text: str) -> int | None:
    """Return where in the text the repeating begins (after its first round), or None where nothing repeats."""
    places = [match.span() for match in _WORD.finditer(text)]
    words = [text[begin:end].lower() for begin, end in places]
    found = [_loop_of_characters(text), _loop_of_sentences(text)]
    period = tail_period(words)
    if period is not None:
        end = places[_first_round_end(words, period) - 1][1]
        found.append(end + len(text[end:]) - len(text[end:].lstrip(_MARKS)))
    starts = [start for start in found if start is not None]
    if starts:
        return min(starts)
    return _first_repeat(words, places) if repeated_share(words) > REPEATED_SHARE_MAX else None


def tail_period(words: Sequence[str]) -> int | None:
    """Return the length in words of what the end of a text repeats at least three times; None where it does not."""
    for period in range(1, min(MAX_PERIOD_WORDS, len(words) // MIN_REPETITIONS) + 1):
        length = period
        while length < len(words) and words[-length - 1] == words[-length - 1 + period]:
            length += 1
        if length >= max(MIN_REPETITIONS * period, MIN_LOOP_WORDS):
            return period
    return None


def repeated_share(words: Sequence[str]) -> float:
    """Return the share of runs of four words that came before; 0 for texts of few runs."""
    runs = ngrams(words, 4)
    return 1 - len(set(runs)) / len(runs) if len(runs) >= MIN_RUNS else 0.0


def _first_round_end(words: Sequence[str], period: int) -> int:
    """Return how many words there are up to the end of the loop's first round."""
    begin = len(words) - period
    while begin > 0 and words[begin - 1] == words[begin - 1 + period]:
        begin -= 1
    return begin + period


def _loop_of_characters(text: str) -> int | None:
    match = _CHARACTERS.search(text)
    return match.end(1) if match else None


def _loop_of_sentences(text: str) -> int | None:
    """Return where a sentence stands for the second time, if it stands there three times: in turn, or if it is long."""
    seen: dict[str, list[tuple[int, int]]] = {}
    begin = 0
    for number, sentence in enumerate(_SENTENCE_END.split(text)):
        place = text.find(sentence, begin)
        begin = place + len(sentence)
        if sentence.strip():
            seen.setdefault(sentence.strip().lower(), []).append((number, place))
    return min((places[1][1] for plain, places in seen.items() if _repeats(plain, places)), default=None)


def _repeats(sentence: str, places: Sequence[tuple[int, int]]) -> bool:
    if len(places) < MIN_REPETITIONS:
        return False
    in_turn = any(third - first == 2 for (first, _), (third, _) in zip(places, places[2:]))
    return in_turn or len(sentence.split()) >= MIN_SENTENCE_WORDS


def _first_repeat(words: Sequence[str], places: Sequence[tuple[int, int]]) -> int | None:
    seen = set()
    for index, run in enumerate(ngrams(words, 4)):
        if run in seen:
            return places[index][0]
        seen.add(run)
    return None
