"""Claims: from a caption of any voice back to what it says, and from there to what is true of it.

    checked = check(parse(caption), scene)
    checked.supported, checked.unsupported, checked.missed, checked.coverage, checked.unsupported_share

For a generated image, `scene` is what a judge perceives in it (`Perceived`), `kinds` what that judge can see, and
`followed_share` the score.
"""

from miniweb.checking import COVERED_KINDS, Checked, Perceived, check
from miniweb.claim_types import CLAIM_KINDS, EVERYTHING, Claim, ClaimKind, Mention, Parsed
from miniweb.parsing import parse

__all__ = [
    "CLAIM_KINDS",
    "COVERED_KINDS",
    "EVERYTHING",
    "Checked",
    "Claim",
    "ClaimKind",
    "Mention",
    "Parsed",
    "Perceived",
    "check",
    "parse",
]
