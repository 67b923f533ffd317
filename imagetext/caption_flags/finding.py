"""The flags that a caption raises by itself."""

from collections import Counter
from collections.abc import Sequence

from imagetext.caption_flags import names
from imagetext.caption_flags.characters import has_special_tokens, in_wrong_script
from imagetext.caption_flags.phrases import is_refusal, is_subjective, negation_start, opening_end, sentences_of
from imagetext.caption_flags.repetition import find_loop
from imagetext.statistics import num_words, split_words

MIN_WORDS = 3
FINAL_MARKS = (".", "!", "?", '"', "”", "'", "’", ")", "…", "。", "！", "？")
MIN_WORDS_OF_SENTENCES = 8
"""Words from which a text is expected to end in a mark; shorter ones may be titles."""
SAME_ROWS_MIN = 5
SAME_ROWS_SHARE = 0.01
"""A caption is the same as many others if so many rows of its unit, and at least five, have it."""


def find_flags(text: str, *, finish_reason: str | None = None, script: str = "LATIN") -> tuple[str, ...]:
    """Return what a caption raises by itself, in the order of `names.FLAGS`.

    `finish_reason` is how its making ended ("stop", "length"); None where nobody knows, and the words have to tell.
    """
    if not text.strip():
        return (names.EMPTY,)
    sentences, refuses = sentences_of(text), is_refusal(text)
    denies = not refuses and any(negation_start(sentence) is not None for sentence in sentences)
    raised = {
        names.TOO_SHORT: num_words(text) < MIN_WORDS and not _is_unspaced(text),
        names.CUT_OFF: finish_reason == "length" if finish_reason else _ends_open(text),
        names.REPETITION_LOOP: find_loop(text) is not None,
        names.REFUSAL: refuses,
        names.SPECIAL_TOKENS: has_special_tokens(text),
        names.WRONG_SCRIPT: in_wrong_script(text, script),
        names.BOILERPLATE_OPENING: opening_end(text) > 0,
        names.NEGATIVE_STATEMENT: denies,
        names.SUBJECTIVE_ENDING: len(sentences) > 1 and is_subjective(sentences[-1]),
    }
    return tuple(name for name, holds in raised.items() if holds)


def find_shared(texts: Sequence[str | None], pictures: Sequence[str]) -> list[bool]:
    """Tell of each row of a unit whether its caption is the same as many others'; case and punctuation aside.

    `pictures` names each row's picture: rows of one and the same picture may have one caption, and count once.
    """
    plain = [None if not text else " ".join(split_words(text)) for text in texts]
    rows = {(text, picture) for text, picture in zip(plain, pictures, strict=True) if text}
    counts = Counter(text for text, _ in rows)
    least = max(SAME_ROWS_MIN, SAME_ROWS_SHARE * len(rows))
    return [text is not None and counts[text] >= least for text in plain]


def in_order(flags: Sequence[str] | set[str]) -> list[str]:
    """Return flags, each once, in the order of `names.FLAGS`; others after them."""
    order = list(names.FLAGS)
    return sorted(set(flags), key=lambda flag: (order.index(flag) if flag in order else len(order), flag))


def defects_among(flags: Sequence[str]) -> tuple[str, ...]:
    """Return the flags that make a caption unfit."""
    return tuple(flag for flag in flags if flag in names.DEFECTS)


def _ends_open(text: str) -> bool:
    return num_words(text) >= MIN_WORDS_OF_SENTENCES and not text.rstrip().endswith(FINAL_MARKS)


def _is_unspaced(text: str) -> bool:
    """Tell whether a text may have many words without a blank between them."""
    return any(letter > "\u2e80" for letter in text)
