"""From results to `results.jsonl`, `tables.md` and the report."""

from pathlib import Path

from eval.config import ResultsConfig
from eval.contrasts import load_declaration
from eval.findings import Evidence, judge_all
from eval.paper_numbers import CITATION
from eval.registry import Experiments, load_experiments
from eval.results import Results, read_results
from eval.results import collect as collect_rows
from eval.runs import finished_folders
from eval.tables import caption_tables, clip_tables, dit_tables, findings_table, formats, mode_tables, size_tables
from eval.tables.missing_table import missing_table
from eval.tables.table import Table
from runtime import atomic
from runtime.errors import UserError


def collect(config: ResultsConfig) -> None:
    """Merge the rows of all finished suites into `results.jsonl`."""
    _existing_root(config)
    print(collect_rows(config.root))


def tables(config: ResultsConfig) -> None:
    """Print all tables to `tables.md`, and the same cells to `tables.tex` and `tables/*.csv`."""
    evidence = gather(config)
    found = all_tables(evidence)
    for table in found:
        atomic.write_text(config.root / "tables" / f"{formats.file_name(table)}.csv", formats.comma_separated(table))
    latex = "\n".join(formats.latex(table) for table in found)
    atomic.write_text(config.root / "tables.tex", f"{formats.PREAMBLE}\n{latex}")
    # Last, since it is what tells the runner that the tables are done.
    path = config.root / "tables.md"
    text = "\n".join(table.markdown() for table in found)
    atomic.write_text(path, f"{_heading(evidence)}\n{text}")
    print(path)


def report(config: ResultsConfig) -> None:
    """Write the page to `report/index.html`."""
    from eval.report.page import build_page

    evidence = gather(config)
    path = config.root / "report" / "index.html"
    build_page(evidence).write(path)
    print(path)


def gather(config: ResultsConfig) -> Evidence:
    """Read everything that tables and report are made of."""
    _existing_root(config)
    return Evidence(
        root=config.root,
        experiments=load_experiments(config.experiments),
        results=read_results(config.root),
        declaration=load_declaration(config.findings),
        replicates=config.bootstrap_replicates,
    )


def all_tables(evidence: Evidence) -> list[Table]:
    """Build every table, findings first."""
    judged = judge_all(evidence)
    return [
        findings_table.findings_table(judged),
        findings_table.beside_table(judged),
        findings_table.levels_table(judged),
        findings_table.plateau_table(evidence),
        *paper_tables(evidence.results, evidence.experiments, evidence.root),
    ]


def paper_tables(results: Results, experiments: Experiments, root: Path) -> list[Table]:
    """Build the paper's tables in its order, and what stands behind ours."""
    return [
        caption_tables.table_1(results, experiments),
        caption_tables.statistics_table(results, experiments),
        caption_tables.claims_table(results, experiments),
        caption_tables.claim_kinds_table(results, experiments),
        mode_tables.modes_table(results, experiments),
        size_tables.table_2(root, experiments),
        clip_tables.table_3(results, experiments),
        clip_tables.table_4(results, experiments),
        clip_tables.table_5(results, experiments),
        clip_tables.table_6(results, experiments),
        dit_tables.table_7(results, experiments),
        dit_tables.guidance_table(results, experiments),
        dit_tables.judges_table(results),
        size_tables.served_table(root, experiments),
        missing_table(root, results, experiments),
    ]


def _heading(evidence: Evidence) -> str:
    runs = evidence.experiments.runs
    finished = len(finished_folders(evidence.root, runs))
    return (
        f"# Results of preset {evidence.experiments.preset}\n\n"
        f"{len(runs)} runs declared, {finished} finished; {len(evidence.results.rows)} rows measured. "
        f"p is the share of original captions. Paper: {CITATION}.\n"
    )


def _existing_root(config: ResultsConfig) -> None:
    if not config.root.exists():
        raise UserError("no such folder of runs", where=str(config.root), fix="Run the preset first")
