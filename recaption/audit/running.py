"""Draw rows of a run, audit their captions, write down what was found."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from recaption.audit.answers import KeptAnswers
from recaption.audit.captions import AuditedCaption, AuditItem
from recaption.audit.config import AuditConfig
from recaption.audit.cost import estimate_cost
from recaption.audit.judge import Judge
from recaption.audit.page import as_json, as_markdown
from recaption.audit.scenes import PROTOCOL, audit_by_scenes
from recaption.audit.summary import summarise
from recaption.job.reopening import finished_of, input_of
from recaption.sampling import SampledRow, finished_units, sample_captioned
from runtime.atomic import make_folder, write_json, write_text
from runtime.errors import UserError
from runtime.progress import Progress

SCENE_COLUMN = "scene"


def audit(config: AuditConfig) -> None:
    """Audit a run's captions, and print what was found; what it will cost is printed first.

    Raises UserError for captions or pictures that are not there, a judge that does not answer, a cost above the limit.
    """
    folder = make_folder(config.output_dir or config.recaptions / "job" / "audit")
    items = draw_items(config)
    if config.by == "scenes":
        audited = list(_shown(audit_by_scenes(items), len(items)))
        _finish(config, folder, PROTOCOL, audited)
        return
    judge = Judge(config.judge, KeptAnswers(folder / "answers"))
    try:
        if within_limit(judge, items, config.dollars_max) and not config.estimate_only:
            _finish(config, folder, judge.protocol, list(_shown(judge.audit(items), len(items))))
    finally:
        judge.close()


def draw_items(config: AuditConfig) -> list[AuditItem]:
    """Return the captions to audit: all columns of each row drawn."""
    units = finished_units(config.recaptions, input_of(config.recaptions, config.input), finished_of(config.recaptions))
    rows = sample_captioned(config.recaptions, units, config.num_rows, config.seed, columns=config.columns)
    items = [_item(row, column) for row in rows for column in config.columns]
    if len(items) < 2 * len(config.columns):
        wanted = f"rows with {' and '.join(config.columns)}"
        raise UserError("too few rows to audit", where=config.recaptions, found=len(items), wanted=wanted)
    return items


def within_limit(judge: Judge, items: Sequence[AuditItem], dollars_max: float | None) -> bool:
    """Print what an audit will cost; raise UserError where that is above a limit."""
    cost = estimate_cost(judge, items)
    print(f"audit: {cost.describe()}", flush=True)
    if dollars_max is not None and cost.dollars > dollars_max:
        what = "the audit would cost more than allowed"
        raise UserError(what, where="dollars_max", found=f"about {cost.dollars:.2f}", wanted=f"<= {dollars_max:.2f}")
    return True


def _item(row: SampledRow, column: str) -> AuditItem:
    scene = row.row.columns.get(SCENE_COLUMN)
    return AuditItem(
        row=row.name,
        source=column,
        text=str(row.sidecar[column]),
        image=row.row.image or b"",
        scene=None if scene is None else str(scene),
    )


def _shown(captions: Iterator[AuditedCaption], total: int) -> Iterator[AuditedCaption]:
    with Progress(total=total, unit="captions", label="audit") as progress:
        for caption in captions:
            yield caption
            progress.advance()


def _finish(config: AuditConfig, folder: Path, protocol: str, captions: Sequence[AuditedCaption]) -> None:
    if all(caption.error is not None for caption in captions):
        fix = "See what the judge answers"
        raise UserError("no caption could be audited", where=config.recaptions, found=captions[0].error or "", fix=fix)
    summaries = summarise(captions)
    record = as_json(protocol, summaries, recaptions=str(config.recaptions), seed=config.seed)
    page = as_markdown(protocol, summaries, captions, by_judge=config.by == "judge")
    lines = [json.dumps(asdict(caption), ensure_ascii=False) for caption in captions]
    write_text(folder / "captions.jsonl", "\n".join(lines) + "\n")
    write_text(folder / "audit.md", page)
    write_json(folder / "audit.json", record)
    print(json.dumps(record, indent=2) if config.json else page)
