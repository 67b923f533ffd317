"""The verb `compare`: draw pictures, have them captioned, measure, write the page."""

from recaption.audit.answers import KeptAnswers
from recaption.audit.judge import Judge
from recaption.audit.running import within_limit
from recaption.audit.scenes import PROTOCOL, audit_by_scenes
from recaption.audit.summary import AuditSummary, summarise
from recaption.comparison.config import CompareConfig
from recaption.comparison.contestants import Bout, hold
from recaption.comparison.measuring import items_to_audit, stand
from recaption.comparison.page import Findings, as_json, build_page, caption_rows
from runtime.atomic import write_json
from runtime.errors import UserError
from runtime.intervals import Interval
from runtime.tables import markdown_table


def compare(config: CompareConfig) -> None:
    """Set captioners side by side."""
    bout = hold(config)
    audited, protocol = _audited(config, bout)
    found = Findings(standings=stand(bout), audited=audited, protocol=protocol, cosines=_cosines(config, bout))
    write_json(config.output_dir / "compare.json", as_json(bout, found))
    page = config.output_dir / "compare.html"
    build_page(bout, found, config.num_shown).write(page)
    print(markdown_table(("", *found.standings), list(caption_rows(found))))
    print(page)


def _audited(config: CompareConfig, bout: Bout) -> tuple[dict[str, AuditSummary], str]:
    if config.claims == "none":
        return {}, ""
    items = items_to_audit(bout)
    if len(items) < 2 * len(bout.contestants):
        wanted = "2 or more pictures that all have a caption of"
        raise UserError("too few captions to audit", where="captioners", found=len(items), wanted=wanted)
    if config.claims == "scenes":
        return summarise(audit_by_scenes(items)), PROTOCOL
    judge = Judge(config.judge, KeptAnswers(config.output_dir / "answers"))
    try:
        within_limit(judge, items, config.dollars_max)
        return summarise(judge.audit(items)), judge.protocol
    finally:
        judge.close()


def _cosines(config: CompareConfig, bout: Bout) -> dict[str, dict[str, Interval]]:
    if not config.scorers:
        return {}
    from recaption.comparison.scoring import score

    return score(bout, config.scorers, config.device)
