"""What audited captions come to, by their source, with intervals over rows."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from recaption.audit.captions import AuditedCaption
from runtime.intervals import Interval, mean_interval, share_of_items


@dataclass(frozen=True, kw_only=True)
class AuditSummary:
    """Claims of one source's captions."""

    num_captions: int
    """Captions that could be audited."""
    num_failed: int
    """Captions that could not, and count in nothing else."""
    num_claims: int
    words: Interval
    """Words read a caption."""
    claims: Interval
    """Claims a caption."""
    supported: Interval
    """Supported claims a caption."""
    unsupported_share: Interval
    """Unsupported claims over all claims."""
    uncertain_share: Interval
    missed: Interval | None
    """Facts a caption that are not told; None where facts are not known."""
    coverage: Interval | None
    """Facts told over all facts."""
    unsupported_share_by_kind: Mapping[str, Interval]
    num_claims_by_kind: Mapping[str, int]


def summarise(captions: Iterable[AuditedCaption]) -> dict[str, AuditSummary]:
    """Return what the captions of each source come to, in the order in which sources come."""
    by_source: dict[str, list[AuditedCaption]] = {}
    for caption in captions:
        by_source.setdefault(caption.source, []).append(caption)
    return {source: _of_source(audited) for source, audited in by_source.items()}


def _of_source(captions: Sequence[AuditedCaption]) -> AuditSummary:
    audited = [caption for caption in captions if caption.error is None]
    claims = _counts([len(caption.claims) for caption in audited])
    kinds = sorted({claim.kind for caption in audited for claim in caption.claims})
    known = [(caption.num_missed, caption.num_facts) for caption in audited if caption.num_missed is not None]
    missed, facts = _counts([one for one, _ in known]), _counts([one or 0 for _, one in known])
    return AuditSummary(
        num_captions=len(audited),
        num_failed=len(captions) - len(audited),
        num_claims=int(claims.sum()),
        words=mean_interval(_counts([caption.num_words for caption in audited])),
        claims=mean_interval(claims),
        supported=mean_interval(_counts([caption.count("supported") for caption in audited])),
        unsupported_share=share_of_items(_counts([caption.count("unsupported") for caption in audited]), claims),
        uncertain_share=share_of_items(_counts([caption.count("uncertain") for caption in audited]), claims),
        missed=mean_interval(missed) if known else None,
        coverage=share_of_items(facts - missed, facts) if known else None,
        unsupported_share_by_kind={kind: _of_kind(audited, kind) for kind in kinds},
        num_claims_by_kind={kind: sum(c.kind == kind for each in audited for c in each.claims) for kind in kinds},
    )


def _of_kind(captions: Sequence[AuditedCaption], kind: str) -> Interval:
    made = [[claim.verdict == "unsupported" for claim in caption.claims if claim.kind == kind] for caption in captions]
    return share_of_items(_counts([sum(each) for each in made]), _counts([len(each) for each in made]))


def _counts(values: Sequence[int]) -> np.ndarray:
    return np.array(values, dtype=np.float64)
