"""Check captions against the scene graphs of their pictures, exactly."""

import json
from collections.abc import Iterable, Iterator

from miniweb.claims import COVERED_KINDS, Claim, check, parse
from miniweb.scene import Scene
from recaption.audit.captions import AuditedCaption, AuditItem, JudgedClaim
from runtime.errors import UserError

PROTOCOL = "claims parsed from whole captions, checked against scene graphs; claims about absent things are unsupported"


def audit_by_scenes(items: Iterable[AuditItem]) -> Iterator[AuditedCaption]:
    """Yield what is true of each caption; raises UserError for a row without a scene graph."""
    for item in items:
        if item.scene is None:
            fix = "Audit real pictures with --by judge"
            raise UserError("row has no scene graph", where=item.row, wanted="a column scene, as miniweb's", fix=fix)
        parsed = parse(item.text)
        checked = check(parsed, Scene.from_json(json.loads(item.scene)))
        supported = [JudgedClaim(kind=c.kind, text=_words(c), verdict="supported") for c in checked.supported]
        wrong = (*checked.unsupported, *checked.void)
        unsupported = [JudgedClaim(kind=c.kind, text=_words(c), verdict="unsupported") for c in wrong]
        unparsed = checked.num_unparsed_sentences
        yield AuditedCaption(
            row=item.row,
            source=item.source,
            text=item.text,
            num_words=len(item.text.split()),
            claims=(*supported, *unsupported),
            num_missed=sum(fact.kind in COVERED_KINDS for fact in checked.missed),
            num_facts=sum(checked.num_facts.get(kind, 0) for kind in COVERED_KINDS),
            problems=(f"{unparsed} of {parsed.num_sentences} sentences not parsed",) if unparsed else (),
        )


def _words(claim: Claim) -> str:
    return f"{claim.kind}: {claim.value}"
