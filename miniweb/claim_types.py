"""What a caption claims, as data."""

from dataclasses import dataclass
from typing import Literal, get_args

ClaimKind = Literal["object", "colour", "size", "species", "count", "relation", "background"]
CLAIM_KINDS: tuple[ClaimKind, ...] = get_args(ClaimKind)
EVERYTHING = -1
"""The subject of claims about the picture as a whole."""


@dataclass(frozen=True)
class Claim:
    """One claim: a `colour` of value `red` about mention number `subject`, say.

    A relation's value is its name, and it relates `subject` to `other`. In a list of missed facts, subjects are numbers
    of things in the scene instead of mentions in the caption.
    """

    kind: ClaimKind
    value: str
    subject: int = EVERYTHING
    other: int = EVERYTHING


@dataclass(frozen=True)
class Mention:
    """Something that a caption introduces: a thing, or `many` things at once (`two red houses`)."""

    kind: str
    many: int = 1


@dataclass(frozen=True)
class Parsed:
    """A caption's claims.

    `num_unparsed_sentences` counts the sentences in which something was left over that claims something, or nothing was
    claimed at all; what could be read of them is among the claims all the same.
    """

    claims: tuple[Claim, ...]
    mentions: tuple[Mention, ...]
    num_sentences: int
    num_unparsed_sentences: int
