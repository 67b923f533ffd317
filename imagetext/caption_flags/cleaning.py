"""The cleaned caption: what is left once all that can be taken out is; the raw one stays where it is."""

import re
from collections.abc import Collection

from imagetext.caption_flags import names
from imagetext.caption_flags.characters import SPECIAL_TOKEN
from imagetext.caption_flags.phrases import is_subjective, negation_start, opening_end, sentences_of
from imagetext.caption_flags.repetition import find_loop

HOPELESS = frozenset({names.EMPTY, names.REFUSAL, names.WRONG_SCRIPT, names.ALT_TEXT_COPIED})
"""Flags of captions of which nothing is left."""
MIN_WORDS_BEFORE = 4
"""Words before a denial from which the beginning of its sentence is a statement of its own."""
MIN_WORDS_KEPT = 2
"""Words without which a rest tells nothing."""

_LABEL = re.compile(r"^\s*(?:(?:image |detailed )?caption|answer|description|assistant|user|response)\s*:\s*", re.I)
_JOINT = re.compile(
    r"[\s,;:–—-]*(?:\b(?:and|but|with|while|where|which|that|although|though|so|as))?\s*$", re.IGNORECASE
)
_FULL_STOP = re.compile(r"[.!?][\"”’')]?(?=\s|$)")


def clean_caption(text: str | None, flags: Collection[str]) -> str | None:
    """Return what is left of a caption without what its flags name; None where that is nothing.

    Marks of tokenizers, labels, boilerplate openings, denials, subjective endings, repetitions after their first round
    and sentences without an end are taken out; a caption whose one sentence was cut off stays. Never adds a word: first
    letters are capitalised and last ones get their full stop.
    """
    if text is None or HOPELESS.intersection(flags):
        return None
    cleaned = " ".join(SPECIAL_TOKEN.sub(" ", text).split())
    if names.REPETITION_LOOP in flags and (start := find_loop(cleaned)) is not None:
        cleaned = _whole_sentences(cleaned[:start])
    elif names.CUT_OFF in flags:
        cleaned = _whole_sentences(cleaned)
    cleaned = _LABEL.sub("", cleaned)
    cleaned = cleaned[opening_end(cleaned) :]
    sentences = [kept for sentence in sentences_of(cleaned) if (kept := _without_denial(sentence))]
    if len(sentences) > 1 and is_subjective(sentences[-1]):
        sentences.pop()
    kept = " ".join(_capitalised(sentence) for sentence in sentences)
    return kept if len(kept.split()) >= min(MIN_WORDS_KEPT, len(text.split())) else None


def _whole_sentences(text: str) -> str:
    """Return a text up to the end of its last whole sentence; all of it where there is none."""
    ends = [match.end() for match in _FULL_STOP.finditer(text)]
    return text[: ends[-1]] if ends else _JOINT.sub("", text)


def _without_denial(sentence: str) -> str:
    """Return a sentence up to where it denies, if that is a statement; else nothing."""
    start = negation_start(sentence)
    if start is None:
        return sentence
    before = _JOINT.sub("", sentence[:start])
    return f"{before}." if len(before.split()) >= MIN_WORDS_BEFORE else ""


def _capitalised(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
