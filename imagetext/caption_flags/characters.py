"""Marks that belong to a tokenizer or a template, and scripts that a caption is not wanted in."""

import re
import unicodedata
from functools import lru_cache

from imagetext.caption_flags.phrases import without_quotations

WRONG_LETTERS_SHARE_MAX = 0.2
WRONG_LETTERS_MAX = 3
"""Letters of other scripts that a caption may have whatever their share: a sign's, an initial's."""

SPECIAL_TOKEN = re.compile(
    r"<\|[^<>|]{1,60}\|>|</?s>|<(?:pad|unk|bos|eos|mask|image|img|im_start|im_end|eot|sep|cls|endoftext)>"
    r"|<(?:start|end)_of_turn>|\[/?(?:INST|PAD|CLS|SEP|MASK|UNK)\]|<</?SYS>>|<0x[0-9A-F]{2}>|\ufffd|[ĠĊ▁]\w*"
)
"""Marks of LLaMA, BERT, Mistral, Gemma and Qwen; leftovers of byte-level and sentence-piece tokens; broken bytes."""


def has_special_tokens(text: str) -> bool:
    """Tell whether a text holds marks that a tokenizer or a chat template put there."""
    return SPECIAL_TOKEN.search(text) is not None


def in_wrong_script(text: str, script: str) -> bool:
    """Tell whether more than a fifth of a text's letters are of another script, its quotations aside.

    `script` is how Unicode names begin: LATIN, CYRILLIC, ARABIC, CJK.
    """
    letters = [letter for letter in without_quotations(text) if letter.isalpha()]
    num_wrong = sum(_script_of(letter) != script for letter in letters)
    return num_wrong > WRONG_LETTERS_MAX and num_wrong > WRONG_LETTERS_SHARE_MAX * len(letters)


@lru_cache(maxsize=1 << 16)
def _script_of(letter: str) -> str:
    return unicodedata.name(letter, "UNKNOWN").split(" ")[0].split("-")[0]
