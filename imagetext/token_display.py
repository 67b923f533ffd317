"""Texts and tokens as messages show them: short, on one line, white space visible."""

from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MAX_CHARACTERS = 200
MAX_TOKENS = 40
_CONTEXT = 3
"""Equal tokens shown on each side of a difference."""


def shown_text(text: str) -> str:
    """Return a text in quotes, its middle left out when it is long."""
    return repr(text) if len(text) <= MAX_CHARACTERS else f"{text[: MAX_CHARACTERS // 2]!r} ... {text[-40:]!r}"


def shown_tokens(ids: Sequence[int], tokenizer: "PreTrainedTokenizerBase") -> str:
    """Return tokens as the vocabulary writes them, repeated ones counted, the middle of many left out."""
    tokens = with_repeats_counted(token_names(ids, tokenizer))
    if len(tokens) > MAX_TOKENS:
        tokens = [*tokens[: MAX_TOKENS // 2], "...", *tokens[-MAX_TOKENS // 4 :]]
    return f"[{' '.join(tokens)}]"


def token_names(ids: Sequence[int], tokenizer: "PreTrainedTokenizerBase") -> list[str]:
    """Return every token as the vocabulary writes it."""
    return [str(token) for token in tokenizer.convert_ids_to_tokens(list(ids))]


def with_repeats_counted(tokens: Sequence[str]) -> list[str]:
    """Return tokens with every run of one token written as that token and its count."""
    runs = [(token, sum(1 for _ in run)) for token, run in groupby(tokens)]
    return [token if count == 1 else f"{token} x{count}" for token, count in runs]


def first_difference(wanted: Sequence[str], found: Sequence[str]) -> str:
    """Return where two sequences part and what stands around: what is only wanted as [-...-], only found as {+...+}.

    Sequences that do not differ give an empty text.
    """
    matcher = SequenceMatcher(None, wanted, found, autojunk=False)
    changes = [change for change in matcher.get_opcodes() if change[0] != "equal"]
    if not changes:
        return ""
    _, start, end, found_start, found_end = changes[0]
    before = " ".join(wanted[max(0, start - _CONTEXT) : start])
    after = " ".join(wanted[end : end + _CONTEXT])
    dropped = f"[-{' '.join(wanted[start:end])}-]" if end > start else ""
    added = f"{{+{' '.join(found[found_start:found_end])}+}}" if found_end > found_start else ""
    more = f" (and {len(changes) - 1} more places)" if len(changes) > 1 else ""
    parts = [part for part in (before, dropped, added, after) if part]
    return f"{' '.join(parts)}{more}"
