"""What a preset declares and nobody has measured yet, with the command that would fill it."""

from collections.abc import Mapping
from pathlib import Path

from eval.registry import Experiments, RunEntry
from eval.results import Results
from eval.runs import finished_folders
from eval.tables.table import Table

_TARGETS: Mapping[str, str] = {"captioner": "finetune", "clip": "clip", "dit": "dit"}
"""Make's target that trains a stage's runs; the other stages have no rows of their own."""


def missing_table(root: Path, results: Results, experiments: Experiments) -> Table:
    """List the declared runs without rows: those not trained, and those trained and not measured."""
    rows = [
        (run.qualified_name, *_state(root, run, experiments.preset))
        for run in experiments.runs
        if run.stage in _TARGETS and run.qualified_name not in results.folders
    ]
    note = "None: every run that this preset declares is measured. " if not rows else ""
    note += (
        "Each command also makes what it needs first and skips what is done. Rows that this preset does not declare "
        "are declared by mini_full: `make tables PRESET=mini_full`."
    )
    headers = ("run", "state", "command")
    return Table(title="Missing runs", headers=headers, rows=tuple(rows), notes=(note,), text_columns=(0, 1, 2))


def _state(root: Path, run: RunEntry, preset: str) -> tuple[str, str]:
    if finished_folders(root, [run]):
        return "trained, not measured", f"make eval PRESET={preset}"
    return "not trained", f"make {_TARGETS[run.stage]} eval PRESET={preset}"
