"""Grids of generated pictures: rows are prompts, columns are mixes."""

from pathlib import Path

from eval.findings import Evidence
from eval.pictures import load_prompts
from eval.registry import RunEntry
from runtime.html import Page

NUM_ROWS = 8
TITLES = {
    "recap": "Prompts: the trained captioner's captions of held-out pictures",
    "raw": "Prompts: people's short captions of the same pictures",
    "recombined": "Prompts: combinations that no training split shows",
}


def add_grids(page: Page, evidence: Evidence) -> None:
    """Show each prompt set's first pictures by every mix, beside a true picture of the prompt's scene."""
    columns = _columns(evidence)
    if not columns:
        return
    for name, title in TITLES.items():
        prompts = load_prompts(next(iter(columns.values())), name)
        rows = []
        for key, text in list(prompts.items())[:NUM_ROWS]:
            pictures = [next(iter(columns.values())) / "pictures" / name / "truth" / f"{key}.png"]
            pictures += [folder / "pictures" / name / "fixed" / f"{key}.png" for folder in columns.values()]
            if all(picture.exists() for picture in pictures):
                rows.append((text, pictures))
        if rows:
            page.figure_grid(("true picture", *columns), rows, caption=f"{title}. Same noise in every column.")


def _columns(evidence: Evidence) -> dict[str, Path]:
    """List the image suites of first seeds by column title: originals first, then fewer and fewer of them."""
    runs = [run for run in evidence.experiments.select(stage="dit", knockout=None) if run.seed == 0]
    runs.sort(key=lambda run: (run.model != "b", run.captions == "oracle", -(run.original_share or 0.0)))
    columns = {}
    for run in runs:
        folder = next(
            (path for path in evidence.results.folders.get(run.qualified_name, []) if path.name == "images"), None
        )
        if folder is not None:
            columns[_title(run)] = folder
    return columns


def _title(run: RunEntry) -> str:
    title = f"p = {run.original_share:g}"
    if run.captions == "oracle":
        return f"{title}, oracle"
    return title if run.model == "b" else f"{title}, {run.model}"
