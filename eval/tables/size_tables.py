"""Table 2 and what each run really saw: facts read from the runs' own folders."""

import json
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any

from safetensors import safe_open

from eval import paper_numbers as paper
from eval.commits import unlike_commits
from eval.registry import Experiments
from eval.runs import finished_folders
from eval.tables.clip_tables import PAPER_NAMES
from eval.tables.table import NOT_RUN, NOTHING, Table


def table_2(root: Path, experiments: Experiments) -> Table:
    """Set our towers beside the paper's: width/layers/heads, and parameters counted from the exported weights."""
    rows = []
    for (vision, text), model in PAPER_NAMES.items():
        runs = experiments.select(stage="clip", model=model)
        export = next((folder for run in runs if (folder := root / "clip" / run.name / "export").exists()), None)
        ours = (NOT_RUN, NOTHING, NOTHING, NOTHING) if export is None else _our_size(export)
        rows.append((f"{vision} + {text} ({model})", *ours))
    headers = ("model", "embed", "vision", "text", "parameters, thousands")
    theirs = [
        (f"paper {name}", sizes["embed"], sizes["vision"], sizes["text"], f"{sizes['params']} million")
        for name, sizes in paper.TABLE_2.items()
    ]
    notes = (
        "Towers as width/layers/heads; parameters as vision/text/total. The paper's parts do not add up to its totals "
        "(86 + 53 is not 141).",
    )
    return Table(title="Table 2. Model sizes", headers=headers, rows=(*rows, *theirs), notes=notes)


def served_table(root: Path, experiments: Experiments) -> Table:
    """Show what each training run was served: samples, realised share of each caption source, lengths, truncation.

    A note says when the runs come from more than one commit of the code.
    """
    rows: list[tuple[str, ...]] = []
    for stage in ("clip", "dit"):
        for run in experiments.select(stage=stage):
            done = root / stage / run.name / "done.json"
            if done.exists():
                rows.extend(_served_rows(run.qualified_name, json.loads(done.read_text()).get("audit", {})))
    headers = ("run", "samples", "distinct", "source", "share %", "words", "tokens", "truncated %", "fallbacks")
    commits = unlike_commits(finished_folders(root, experiments.runs))
    notes = () if commits is None else (commits,)
    return Table(title="What the runs were served", headers=headers, rows=tuple(rows), notes=notes, text_columns=(0, 3))


def _our_size(export: Path) -> tuple[str, str, str, str]:
    model = json.loads((export / "open_clip_config.json").read_text())["model_cfg"]
    counts = {"vision": 0, "text": 0}
    for name, number in _parameter_counts(export):
        counts["vision" if name.startswith("visual.") else "text"] += number
    parts = "/".join(f"{count / 1e3:.0f}" for count in (counts["vision"], counts["text"], sum(counts.values())))
    return str(model["embed_dim"]), _tower(model["vision_cfg"]), _tower(model["text_cfg"]), parts


def _tower(tower: Mapping[str, Any]) -> str:
    """Write width/layers/heads of a transformer, layers by stage of a ResNet, or the name of a timm tower."""
    if "timm_model_name" in tower:
        return f"timm {tower['timm_model_name']}"
    if isinstance(tower["layers"], list):
        return f"ResNet {tower['width']}/{'-'.join(str(number) for number in tower['layers'])}"
    heads = tower.get("heads") or tower["width"] // tower.get("head_width", 64)
    return f"{tower['width']}/{tower['layers']}/{heads}"


def _parameter_counts(export: Path) -> Iterator[tuple[str, int]]:
    with safe_open(export / "open_clip_model.safetensors", framework="pt") as weights:
        for name in weights.keys():  # noqa: SIM118 (a safetensors file is no mapping)
            yield name, prod(weights.get_slice(name).get_shape())


def _served_rows(name: str, audit: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for source, facts in audit.get("sources", {}).items():
        yield (
            name,
            str(audit["drawn"]),
            str(audit["distinct"]),
            source,
            f"{100 * facts['share']:.1f}",
            f"{facts['mean_length_words']:.1f}",
            f"{facts['mean_length_tokens']:.1f}",
            f"{100 * facts['truncated_share']:.1f}",
            str(facts["fallbacks"]),
        )
