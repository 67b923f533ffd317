"""Table 7 and the judges behind it: text-to-image models by share of original captions."""

from eval import paper_numbers as paper
from eval.registry import Experiments, RunEntry
from eval.results import Results
from eval.tables.cells import Column, row_cell, seeds_cell
from eval.tables.table import Table, paper_cell

JUDGES = "judges/judges"
"""Name under which the judges' own rows are kept."""
COLUMNS = (
    ("raw FD[judge]", "prompts_raw/frechet_{tag}", 1.0, 2),
    ("raw CLIP", "prompts_raw/clip_score_{tag}", 1.0, 1),
    ("recap FD[judge]", "prompts_recap/frechet_{tag}", 1.0, 2),
    ("recap CLIP", "prompts_recap/clip_score_{tag}", 1.0, 1),
    ("recap Recap-CLIP", "prompts_recap/recap_clip_score_{tag}", 1.0, 1),
    ("recap claims %", "prompts_recap/claims_{tag}", 100.0, 1),
)
"""Ours in the places of FID, CLIP score, Recap-CLIP score and GPT-4V's rating."""

PROMPT_COLUMNS = (
    ("raw claims %", "prompts_raw/claims_{tag}"),
    ("recap claims %", "prompts_recap/claims_{tag}"),
    ("recap whole %", "prompts_recap/whole_{tag}"),
    ("recap claims %, judge B", "prompts_recap/claims_{tag}_judge_B"),
    ("recombined claims %", "prompts_recombined/claims_{tag}"),
    ("longer claims %", "prompts_longer/claims_{tag}"),
)


def dit_arm(experiments: Experiments, model: str, original_share: float) -> list[RunEntry]:
    """Select the runs of the experiment proper of a model and share."""
    runs = experiments.select(
        stage="dit", model=model, original_share=original_share, recipe="recaption", knockout=None
    )
    return [run for run in runs if run.captions != "oracle"]


def table_7(results: Results, experiments: Experiments) -> Table:
    """Set pictures by share of original captions beside the paper's, at the fixed guidance."""
    arms: list[tuple[str, list[RunEntry], tuple[float | None, ...]]] = [
        (f"p = {share}", dit_arm(experiments, "b", float(share)), paper.TABLE_7[share]) for share in paper.TABLE_7
    ]
    arms.append(("large model, p = 0.00", dit_arm(experiments, "l", 0.0), paper.TABLE_7_LARGE))
    arms.append(("oracle captions, p = 0.00", _oracle(experiments), (None,) * len(COLUMNS)))
    columns = [
        Column(results, metric.format(tag="fixed"), scale=scale, digits=digits) for _, metric, scale, digits in COLUMNS
    ]
    rows = []
    for label, runs, numbers in arms:
        cells = [column.cell(runs) for column in columns]
        pairs = [part for cell, number in zip(cells, numbers, strict=True) for part in (cell, paper_cell(number, 2))]
        rows.append((label, seeds_cell(results, runs, columns[-1].metric), *pairs))
    names = zip([name for name, *_ in COLUMNS], paper.DIT_COLUMNS, strict=True)
    headers = ("arm", "seeds", *(part for ours, theirs in names for part in (ours, f"paper {theirs}")))
    protocol = next((column.protocol for column in columns if column.protocol), None)
    notes = (
        "Claims: share of the prompt's claims that judge A sees in the picture, extra objects counted against; it "
        "stands in the place of GPT-4V's rating. FD is a Frechet distance in the judge's features, not Inception's: it "
        "is no FID. CLIP scores are 100 x max(cosine, 0) by two CLIPs of this experiment, trained apart from the "
        "foundation that conditions the generators.",
        *((f"Protocol: {protocol}.",) if protocol else ()),
    )
    return Table(title="Table 7. Text-to-image, by mixed ratio", headers=headers, rows=tuple(rows), notes=notes)


def guidance_table(results: Results, experiments: Experiments) -> Table:
    """Show every prompt set at the fixed guidance and at each arm's best on development prompts."""
    rows = []
    for tag in ("fixed", "best"):
        columns = [Column(results, metric.format(tag=tag)) for _, metric in PROMPT_COLUMNS]
        guidance = Column(results, "development/best_guidance", scale=1.0)
        for share in paper.TABLE_7:
            runs = dit_arm(experiments, "b", float(share))
            if any(results.row(run.qualified_name, columns[0].metric) for run in runs):
                chosen = guidance.cell(runs) if tag == "best" else "fixed"
                rows.append((f"p = {share}", chosen, *(column.cell(runs) for column in columns)))
    rows += _bounds(results, experiments)
    headers = ("arm", "guidance", *(name for name, _ in PROMPT_COLUMNS))
    notes = (
        "Ceiling: true renders of the prompts' scenes, scored alike; what a perfect generator could reach, and less "
        "than 100 where prompts err or omit. Floor: true renders of other prompts' scenes.",
    )
    return Table(title="Following prompts", headers=headers, rows=tuple(rows), notes=notes)


def judges_table(results: Results) -> Table:
    """Show what each judge accepts of what is true and of what one edit made false."""
    kinds = ("claims", "whole", "object", "colour", "size", "species", "count", "relation", "background")
    rows = [
        (f"ceiling, {kind}", *(row_cell(results, JUDGES, f"judges_test/{name}_ceiling_{kind}") for name in "AB"))
        for kind in kinds
    ]
    edits = ("", "_colour", "_kind", "_species", "_size", "_fewer", "_more", "_places", "_background")
    rows += [
        (
            f"false accepts{': ' if edit else ''}{edit.strip('_')}",
            *(row_cell(results, JUDGES, f"judges_test/{name}_false_accept{edit}") for name in "AB"),
        )
        for edit in edits
    ]
    agreement = row_cell(results, JUDGES, "judges_test/agreement")
    rows.append(("A and B decide alike", agreement, agreement))
    notes = (
        "On true renders that neither judge was trained on. Ceiling: true claims accepted. False accepts: claims that "
        "a single edit of the scene made false, accepted all the same.",
    )
    return Table(title="The judges", headers=("percent", "judge A", "judge B"), rows=tuple(rows), notes=notes)


def _oracle(experiments: Experiments) -> list[RunEntry]:
    return experiments.select(stage="dit", model="b", original_share=0.0, captions="oracle", knockout=None)


def _bounds(results: Results, experiments: Experiments) -> list[tuple[str, ...]]:
    """Show ceiling and floor, which are the same for all arms: they are read from the first one measured."""
    measured = [
        run
        for run in experiments.select(stage="dit", knockout=None)
        if results.row(run.qualified_name, "prompts_raw/claims_ceiling")
    ][:1]
    if not measured:
        return []
    rows = []
    for bound in ("ceiling", "floor"):
        cells = []
        for _, metric in PROMPT_COLUMNS:
            cells.append(Column(results, metric.format(tag=bound)).cell(measured))
        rows.append((f"true renders, {bound}", "", *cells))
    return rows
