"""Undo bytes of UTF-8 that were written as text: `caf\\xc3\\xa9`, literally, was meant to be `café`."""

import re

_ESCAPES = re.compile(r"(?:\\x[0-9a-fA-F]{2})+")
_CHARACTER = re.compile(
    rb"[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf]{2}|\xed[\x80-\x9f][\x80-\xbf]"
    rb"|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}|\xf4[\x80-\x8f][\x80-\xbf]{2}"
)
"""One character of more than one byte, as UTF-8 has it (RFC 3629, section 4)."""


def undo_byte_escapes(text: str) -> str:
    """Return a text with runs of `\\xNN` that are UTF-8 turned into their characters; other escapes stay as they are.

    ASCII is never written as an escape by what left such texts, so `\\x41` stays.
    """
    return _ESCAPES.sub(lambda run: _decoded(run.group()), text) if "\\x" in text else text


def _decoded(run: str) -> str:
    data, pieces, position = bytes.fromhex(run.replace("\\x", "")), list[str](), 0
    while position < len(data):
        character = _CHARACTER.match(data, position)
        end = position + 1 if character is None else character.end()
        pieces.append(run[4 * position : 4 * end] if character is None else character.group().decode())
        position = end
    return "".join(pieces)
