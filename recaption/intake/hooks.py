"""Functions that know something of a row before it is captioned, and say it as flags; one's own stand beside these."""

import re
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TypeAlias

from recaption.inputs.units import InputRow
from runtime.errors import UserError

Hook: TypeAlias = Callable[[InputRow], Sequence[str]]

PERSONAL_DATA = "personal_data"
UNSAFE = "unsafe"
UNSAFE_MIN = 0.5
_EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_TELEPHONE = re.compile(r"(?<![\w.])(?:(?:\+|00)\d[\d ./()-]{7,20}\d|\d{2,5}(?:[ /()-]{1,3}\d{2,5}){2,4})(?![\w.])")
_TELEPHONE_DIGITS = range(9, 16)
"""Dates have eight."""
_FLAG = re.compile(r"[a-z][a-z0-9_]*")


def personal_data(row: InputRow) -> Sequence[str]:
    """Flag a row whose own caption holds an e-mail address or what looks like a telephone number."""
    text = row.caption or ""
    return (PERSONAL_DATA,) if _EMAIL.search(text) or _has_telephone(text) else ()


def unsafe(row: InputRow) -> Sequence[str]:
    """Flag a row that LAION's columns say is unsafe for work: `punsafe` of 0.5 or more, `NSFW` other than UNLIKELY."""
    share, word = row.columns.get("punsafe"), row.columns.get("NSFW")
    by_share = isinstance(share, (int, float)) and share >= UNSAFE_MIN
    return (UNSAFE,) if by_share or (isinstance(word, str) and word.upper() in ("UNSURE", "NSFW")) else ()


def _has_telephone(text: str) -> bool:
    found = (sum(letter.isdigit() for letter in match[0]) for match in _TELEPHONE.finditer(text))
    return any(num_digits in _TELEPHONE_DIGITS for num_digits in found)


def find_hook(name: str) -> Hook:
    """Return a function by MODULE:NAME; raises UserError where there is none."""
    module, _, function = name.partition(":")
    try:
        found = getattr(import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError("no such hook", where="hooks", found=f"{name} ({error})", wanted="MODULE:FUNCTION") from None
    if not callable(found):
        raise UserError("no function", where="hooks", found=name, wanted="MODULE:FUNCTION")
    return found


def flags_by(hooks: Sequence[Hook], row: InputRow) -> list[str]:
    """Return what hooks say of a row, each flag once; raises UserError for a flag that is no name."""
    flags = list(dict.fromkeys(flag for hook in hooks for flag in hook(row)))
    wrong = next((flag for flag in flags if not _FLAG.fullmatch(flag)), None)
    if wrong is not None:
        raise UserError("no name of a flag", where="hooks", found=wrong, wanted="small letters, digits and _")
    return flags
