"""Captions to be audited, and what was found of them."""

from dataclasses import dataclass, field
from typing import Literal

Verdict = Literal["supported", "unsupported", "uncertain"]


@dataclass(frozen=True, kw_only=True)
class AuditItem:
    """One caption of one picture."""

    row: str
    """Name of the row among all units'."""
    source: str
    """What the caption is of: a sidecar's column, a captioner."""
    text: str
    image: bytes
    scene: str | None = None
    """The picture's scene graph as JSON, where it is known."""


@dataclass(frozen=True, kw_only=True)
class JudgedClaim:
    """One claim and what became of it."""

    kind: str
    text: str
    verdict: Verdict


@dataclass(frozen=True, kw_only=True)
class AuditedCaption:
    """What one caption claims."""

    row: str
    source: str
    text: str
    num_words: int
    """Words that were read, as white space separates them."""
    claims: tuple[JudgedClaim, ...] = ()
    num_missed: int | None = None
    """Facts of the picture that the caption does not tell; None where facts are not known."""
    num_facts: int | None = None
    error: str | None = None
    """Why the caption could not be audited; it counts in no number then."""
    problems: tuple[str, ...] = field(default=())
    """What was passed over in it: sentences that could not be parsed, claims that came twice."""

    def count(self, verdict: Verdict) -> int:
        """Return how many claims have a verdict."""
        return sum(claim.verdict == verdict for claim in self.claims)
