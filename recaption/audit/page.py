"""An audit as Markdown and as plain JSON types."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from recaption.audit.captions import AuditedCaption
from recaption.audit.summary import AuditSummary
from recaption.statistics.page import cell
from runtime.intervals import Interval, finite_or_null
from runtime.tables import markdown_table

PUBLISHED = (
    ("judge Qwen3.5-397B", "10.44", "8.49", "17.7"),
    ("judge Gemma-4-31B", "10.44", "8.00", "21.9"),
)
"""Oh et al. (NeurIPS 2026), `re_caption` of Recap-DataComp-1B, about 5,000 captions: claims, supported, unsupported."""
CLAIMS_HEADERS = (
    "captions", "audited", "failed", "words", "claims", "supported", "unsupported %", "uncertain %", "missed",
    "covered %",
)  # fmt: skip
_WORST = 10


def as_json(protocol: str, summaries: Mapping[str, AuditSummary], **facts: object) -> dict[str, Any]:
    """Return what was found as plain JSON types."""
    sources = {name: finite_or_null(asdict(found)) for name, found in summaries.items()}
    return {"protocol": protocol, **facts, "sources": sources}


def as_markdown(
    protocol: str, summaries: Mapping[str, AuditSummary], captions: Sequence[AuditedCaption], *, by_judge: bool
) -> str:
    """Return the page."""
    parts = [
        "# What captions claim\n",
        f"Protocol: {protocol}. Brackets hold 95 % intervals over rows.\n",
        claims_table(summaries),
        "## Unsupported claims by kind (%)\n",
        kinds_table(summaries),
        "## The worst\n",
        _worst_table(captions),
    ]
    if by_judge:
        headers = ("the published captions, audited by others", "claims", "supported", "unsupported %")
        parts += [
            "## For comparison\n",
            markdown_table(headers, PUBLISHED),
            "Oh et al. (NeurIPS 2026), on pictures of DataComp-1B, with other judges and their own wording.\n",
        ]
    return "\n".join(parts)


def claims_table(summaries: Mapping[str, AuditSummary]) -> str:
    """Return the table of sources."""
    return markdown_table(CLAIMS_HEADERS, [claims_row(name, found) for name, found in summaries.items()])


def claims_row(name: str, found: AuditSummary) -> tuple[str, ...]:
    """Return a source's row of the table of sources."""
    return (
        name,
        str(found.num_captions),
        str(found.num_failed),
        cell(found.words, digits=1),
        cell(found.claims),
        cell(found.supported),
        cell(found.unsupported_share, 100, 1),
        cell(found.uncertain_share, 100, 1),
        _known(found.missed, 1, 2),
        _known(found.coverage, 100, 1),
    )


def kinds_table(summaries: Mapping[str, AuditSummary]) -> str:
    """Return unsupported shares by kind of claim."""
    return markdown_table(("kind", *summaries), kinds_rows(summaries))


def kinds_rows(summaries: Mapping[str, AuditSummary]) -> list[tuple[str, ...]]:
    """Return a row for each kind of claim."""
    kinds = sorted({kind for found in summaries.values() for kind in found.unsupported_share_by_kind})
    return [(kind, *(_of_kind(found, kind) for found in summaries.values())) for kind in kinds]


def _of_kind(found: AuditSummary, kind: str) -> str:
    share = found.unsupported_share_by_kind.get(kind)
    return "no claims" if share is None else f"{cell(share, 100, 1)} of {found.num_claims_by_kind[kind]}"


def _known(interval: Interval | None, scale: int, digits: int) -> str:
    return "not known" if interval is None else cell(interval, scale, digits)


def _worst_table(captions: Sequence[AuditedCaption]) -> str:
    ordered = sorted(captions, key=lambda caption: (-caption.count("unsupported"), caption.row, caption.source))
    worst = [caption for caption in ordered[:_WORST] if caption.count("unsupported")]
    rows = [(caption.row, caption.source, _unsupported(caption), caption.text) for caption in worst]
    return markdown_table(("row", "captions", "unsupported", "caption"), rows, ("left",) * 4)


def _unsupported(caption: AuditedCaption) -> str:
    return "; ".join(claim.text for claim in caption.claims if claim.verdict == "unsupported")
