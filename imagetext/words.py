"""The words of a caption."""

import re

_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")


def words_of(text: str) -> list[str]:
    """Split a caption into lower-case words of letters; numbers and punctuation are none."""
    return _WORD.findall(text.lower())
