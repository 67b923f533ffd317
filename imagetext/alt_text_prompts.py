"""Requests for a caption by one who knows the text that a picture came with: their words, and how the text goes in.

Captioners are asked in these words (`recaption.named_prompts`) and the miniature's is taught in them.
"""

import re

from imagetext.conversations import PAPER_PROMPT

ALT_TEXT_MARK = "{alt_text}"
"""Where a prompt wants the text that a picture came with."""
ALT_TEXT_MAX_CHARACTERS = 400
"""Longest text put into a prompt. DataComp's captions average ten words; what is much longer is a list of keywords."""

CONDITIONED_PROMPT = (
    f'{PAPER_PROMPT} On the web it came with the text "{ALT_TEXT_MARK}", which may be wrong or about something else. '
    "Use its names where the image bears them out, and do not quote it."
)
"""Asks for a caption by one who has read the text: things are called what it calls them, where that is true."""
KNOWLEDGE_PROMPT = (
    f'{PAPER_PROMPT} Its web page says "{ALT_TEXT_MARK}". '
    "From this, take over the names of what the image shows, and nothing else."
)
"""Asks for the caption that the picture alone would get, with names put in that the text knows and the picture
supports (the idea of KALE, arXiv 2411.07461, and VeCLIP, arXiv 2310.07699)."""

_MARKUP = re.compile(r"<[^<>]{0,100}>")
_BRACKETS = str.maketrans({"<": "(", ">": ")", "[": "(", "]": ")", "|": "/", '"': "'"})


def put_alt_text(prompt: str, alt_text: str | None, *, unconditioned: str = PAPER_PROMPT) -> str:
    """Return a prompt with the text in its place, cleaned; `unconditioned` where nothing is left of that."""
    cleaned = clean_alt_text(alt_text)
    return prompt.replace(ALT_TEXT_MARK, cleaned) if cleaned else unconditioned


def clean_alt_text(text: str | None) -> str | None:
    """Return a text fit to stand within quotation marks in a prompt; None where nothing is left of it.

    Markup goes, and with it whatever a tokenizer would take for a special token; a long text is cut after a word.
    """
    plain = _MARKUP.sub(" ", text or "").translate(_BRACKETS).encode("utf-8", "replace").decode()
    plain = " ".join("".join(one if one.isprintable() else " " for one in plain).split())
    if len(plain) > ALT_TEXT_MAX_CHARACTERS:
        plain = plain[: ALT_TEXT_MAX_CHARACTERS + 1].rsplit(" ", 1)[0][:ALT_TEXT_MAX_CHARACTERS]
    return plain if any(one.isalpha() for one in plain) else None
