"""Table 1 and the caption statistics: the captioner and what it writes."""

from eval import paper_numbers as paper
from eval.registry import Experiments, RunEntry
from eval.results import Results
from eval.tables.cells import Column, seeds_cell
from eval.tables.table import NOTHING, Table, paper_cell
from imagetext.statistics import PAPER_STATISTICS
from miniweb.claims import CLAIM_KINDS

SOURCES = ("original", "recaption", "oracle")


def captioners(experiments: Experiments) -> list[RunEntry]:
    """List the captioners of the experiment proper."""
    return experiments.select(stage="captioner", knockout=None)


def table_1(results: Results, experiments: Experiments) -> Table:
    """Set our captioner's answers and claims beside the paper's two benchmarks, each in columns of its own."""
    metrics = (
        ("object questions", "captioner_heldout/object_question_accuracy"),
        ("unsupported claims", "captioner_heldout/recaption_unsupported"),
        ("coverage", "captioner_heldout/recaption_coverage"),
        ("oracle coverage", "captioner_heldout/oracle_coverage"),
    )
    published = ("mmmu_val/accuracy", "mmvet/gpt_score")
    runs = captioners(experiments)
    cells = (Column(results, metric).cell(runs) for metric in (*(metric for _, metric in metrics), *published))
    ours = ("our captioner", *cells)
    theirs = [
        (f"paper: {name}", *[NOTHING] * len(metrics), paper_cell(scores["MMMU"]), paper_cell(scores["MM-Vet"]))
        for name, scores in paper.TABLE_1.items()
    ]
    notes = (
        'Questions of the form "Is there a boat in the image?", half about kinds that are there, on held-out pictures '
        "of the captioner's own domain: 50 % by guessing. Claims are parsed from its captions and checked against the "
        "scene graph.",
        "MMMU (validation) and MM-Vet of ours are lmms-eval's; the paper does not name the judge of its MM-Vet.",
        f"Seeds measured: {seeds_cell(results, runs, metrics[0][1])}.",
    )
    headers = ("captioner", *(name for name, _ in metrics), "MMMU", "MM-Vet")
    return Table(title="Table 1. The captioner", headers=headers, rows=(ours, *theirs), notes=notes)


def statistics_table(results: Results, experiments: Experiments) -> Table:
    """Set length and vocabulary of originals and recaptions beside the paper's."""
    runs = captioners(experiments)

    def pair(metric: str, scale: float) -> tuple[str, str]:
        cells = [
            Column(results, f"web/{source}_{metric}", scale=scale).cell(runs) for source in ("original", "recaption")
        ]
        return cells[0], cells[1]

    ours = {
        "mean length (words)": pair("words", 1.0),
        "share of the union vocabulary (%)": pair("vocabulary_share", 100.0),
    }
    rows = [
        (name, *ours.get(name, (NOTHING, NOTHING)), paper_cell(original, 2), paper_cell(recaption, 2))
        for name, (original, recaption) in PAPER_STATISTICS.items()
    ]
    headers = ("web captions", "original", "recaption", "paper original", "paper recaption")
    notes = (
        "The paper's two CLIP rows add up to 100: they are shares of a two-way choice, not cosines, and have no "
        "counterpart here. Truth is measured below instead.",
    )
    return Table(title="Caption statistics", headers=headers, rows=tuple(rows), notes=notes)


def claims_table(results: Results, experiments: Experiments) -> Table:
    """Show what captions cover and get wrong, by source, domain and kind of claim."""
    runs = captioners(experiments)
    rows = []
    for split in ("web_heldout", "captioner_heldout"):
        for source in SOURCES:
            prefix = f"{split}/{source}"
            cells = [
                Column(results, f"{prefix}_{metric}", scale=1.0 if metric in ("words", "claims") else 100.0).cell(runs)
                for metric in ("words", "claims", "coverage", "unsupported", "unparsed")
            ]
            if any(cell != NOTHING for cell in cells):
                rows.append((split, source, *cells))
    headers = ("domain", "captions", "words", "claims", "coverage %", "unsupported %", "unparsed sentences %")
    notes = (
        "Coverage: share of the scene's facts (objects, colours, background, relations) that are told truly. "
        "Unsupported: share of claims that do not hold, claims about absent objects included. Captions of the "
        "captioner's own domain have no alt-text.",
    )
    return Table(title="What captions claim", headers=headers, rows=tuple(rows), notes=notes, text_columns=(0, 1))


def claim_kinds_table(results: Results, experiments: Experiments) -> Table:
    """Show the unsupported share and coverage by kind of claim on the web domain."""
    runs = captioners(experiments)
    rows = []
    for kind in CLAIM_KINDS:
        cells = [
            Column(results, f"web_heldout/{source}_{metric}_{kind}").cell(runs)
            for metric in ("unsupported", "coverage")
            for source in SOURCES
        ]
        rows.append((kind, *cells))
    headers = (
        "kind of claim",
        *(f"unsupported %, {source}" for source in SOURCES),
        *(f"covered %, {source}" for source in SOURCES),
    )
    return Table(title="What captions claim, by kind (web domain)", headers=headers, rows=tuple(rows))
