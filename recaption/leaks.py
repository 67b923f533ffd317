"""Captions that repeat what the captioner was told instead of saying what it sees."""

import re
from collections.abc import Sequence

from imagetext.caption_flags.names import ALT_TEXT_COPIED, PROMPT_ECHO

ECHO_RUN_WORDS = 6
"""Words in a row shared with the request from which a caption repeats it: "a detailed caption of this image" is six,
while descriptions share phrases such as "in the image" with any request."""
COPIED_RUN_WORDS = 6
"""Words in a row shared with the alt-text from which a caption quotes it: names, which a caption should take over,
seldom have more than five."""
COPIED_TRIGRAM_SHARE = 0.5
"""Share of a caption's word trigrams that are the alt-text's from which it is a copy; short ones are caught by this."""
_LABELS = ("caption:", "answer:", "description:", "assistant:", "user:")
"""Openings that a conversation has, and a caption has not."""

_WORD = re.compile(r"\w+")


def find_leaks(caption: str, *, prompt: str, alt_text: str | None) -> tuple[str, ...]:
    """Return the flags that a caption raises: `prompt_echo`, `alt_text_copied`, both or none.

    `prompt` is the request without the alt-text (a prompt's `unconditioned` words or its template). `alt_text` is None
    where the captioner did not know it: a caption may then say the same by itself.
    """
    words = _words(caption)
    echoes = caption.strip().lower().startswith(_LABELS) or longest_run(words, _words(prompt)) >= ECHO_RUN_WORDS
    copies = alt_text is not None and _copies(words, _words(alt_text))
    return tuple(flag for flag, raised in ((PROMPT_ECHO, echoes), (ALT_TEXT_COPIED, copies)) if raised)


def longest_run(words: Sequence[str], others: Sequence[str]) -> int:
    """Return the length of the longest run of words that both have."""
    longest = 0
    # Lengths of the runs that end at each word of `others`, for one word of `words` after the other.
    ending = [0] * (len(others) + 1)
    for word in words:
        ending = [0, *(ending[place] + 1 if word == other else 0 for place, other in enumerate(others))]
        longest = max(longest, *ending)
    return longest


def trigram_share(words: Sequence[str], others: Sequence[str]) -> float:
    """Return the share of `words`' trigrams that `others` have too; 0 where there are none."""
    trigrams, known = _trigrams(words), set(_trigrams(others))
    return sum(one in known for one in trigrams) / len(trigrams) if trigrams else 0.0


def _copies(words: Sequence[str], alt_words: Sequence[str]) -> bool:
    return longest_run(words, alt_words) >= COPIED_RUN_WORDS or trigram_share(words, alt_words) >= COPIED_TRIGRAM_SHARE


def _trigrams(words: Sequence[str]) -> list[tuple[str, ...]]:
    return [tuple(words[start : start + 3]) for start in range(len(words) - 2)]


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())
