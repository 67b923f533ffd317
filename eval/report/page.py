"""The page from top to bottom."""

from collections.abc import Sequence

from eval.findings import Evidence, Judged, judge_all
from eval.paper_numbers import CITATION
from eval.report import captions_section, curves_section, modes_section, pictures_section
from eval.report.table_section import add_table
from eval.runs import finished_folders
from eval.tables import caption_tables, clip_tables, dit_tables, findings_table, size_tables
from runtime.html import Page

SUBTITLE = (
    "A captioner is fine-tuned, a small web is recaptioned, and contrastive and text-to-image models are trained on "
    f"mixes of its old and new captions: {CITATION}, in miniature. p is the share of original captions."
)


def build_page(evidence: Evidence) -> Page:
    """Build the whole page from what was measured; sections without data are left out or say so."""
    page = Page(f"OpenRecap, preset {evidence.experiments.preset}", SUBTITLE)
    judged = judge_all(evidence)
    _findings(page, evidence, judged)
    captions_section.add_data(page, evidence)
    captions_section.add_captions(page, evidence)
    modes_section.add_modes(page, evidence)
    _contrastive(page, evidence)
    _pictures(page, evidence)
    curves_section.add_training(page, evidence)
    _details(page, evidence, judged)
    return page


def _findings(page: Page, evidence: Evidence, judged: Sequence[Judged]) -> None:
    page.section("Findings")
    runs = evidence.experiments.runs
    verdicts = [each.verdict for each in judged]
    page.facts(
        {
            "runs finished": f"{len(finished_folders(evidence.root, runs))} of {len(runs)}",
            "numbers measured": len(evidence.results.rows),
            "claims tested": len(judged),
            "reproduced": verdicts.count("reproduced"),
            "differ": verdicts.count("differs"),
            "without a verdict": sum(verdict not in ("reproduced", "differs") for verdict in verdicts),
        }
    )
    add_table(page, findings_table.findings_table(judged), titled=False)


def _contrastive(page: Page, evidence: Evidence) -> None:
    page.section("Contrastive models")
    curves_section.add_mixing(page, evidence)
    results, experiments = evidence.results, evidence.experiments
    for table in (clip_tables.table_3, clip_tables.table_4, clip_tables.table_5, clip_tables.table_6):
        add_table(page, table(results, experiments))


def _pictures(page: Page, evidence: Evidence) -> None:
    page.section("Text-to-image models")
    pictures_section.add_grids(page, evidence)
    curves_section.add_generation(page, evidence)
    results, experiments = evidence.results, evidence.experiments
    add_table(page, dit_tables.table_7(results, experiments))
    add_table(page, dit_tables.guidance_table(results, experiments))
    add_table(page, dit_tables.judges_table(results))


def _details(page: Page, evidence: Evidence, judged: Sequence[Judged]) -> None:
    page.section("Behind the findings")
    add_table(page, findings_table.beside_table(judged))
    add_table(page, findings_table.levels_table(judged))
    add_table(page, findings_table.plateau_table(evidence))
    add_table(page, size_tables.table_2(evidence.root, evidence.experiments))
    add_table(page, size_tables.served_table(evidence.root, evidence.experiments))
    add_table(page, caption_tables.table_1(evidence.results, evidence.experiments))
