"""Captions as they may be shown: written by models and by strangers, they are text and nothing else."""

import re

CHARACTERS_MAX = 700

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+!~])")


def shown(text: object) -> str:
    """Return a text in one line, what can't be printed or turns other text around left out, and not too long."""
    plain = "".join(letter if letter.isprintable() else " " for letter in str(text))
    plain = " ".join(plain.split())
    return plain if len(plain) <= CHARACTERS_MAX else f"{plain[:CHARACTERS_MAX].rsplit(' ', 1)[0]} …"


def shown_in_markdown(text: object) -> str:
    """Return a text that Markdown shows as it is: no markup, no links, no HTML."""
    plain = shown(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKDOWN.sub(r"\\\1", plain)
