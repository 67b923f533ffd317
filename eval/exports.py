"""Rows as other tools read them: CLIP_benchmark's result files and table, and DataComp's `eval_results.jsonl`."""

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from eval.config import ExportConfig
from eval.datasets.entries import Entry, Registry, load_registry
from eval.rows import Row, latest_rows, read_rows
from runtime import atomic
from runtime.errors import UserError

CLIP_SUITES = ("clip", "clip_benchmark")
_TASKS = {
    "retrieval": "zeroshot_retrieval",
    "classification": "zeroshot_classification",
    "choice": "image_caption_selection",
    "matching": "image_caption_selection",
}
"""What CLIP_benchmark calls our tasks."""
_CSV_COLUMNS = ("dataset", "model", "pretrained", "task", "language", "model_fullname")
Measured = tuple[str, str, str]
"""A run, a suite and a data set's name."""


def export(config: ExportConfig) -> None:
    """Write every result on a data set of the registry; raises UserError where there is none."""
    groups = grouped(latest_rows(read_rows(config.rows)))
    if not groups:
        wanted = "rows that `eval benchmark` wrote"
        raise UserError("nothing to export", where=config.rows, found="no row of a known data set", wanted=wanted)
    registry = load_registry(config.registry)
    results = {measured: clip_benchmark_result(rows, registry) for measured, rows in groups.items()}
    for (run, suite, data_set), result in results.items():
        name = re.sub(r"[^\w.-]+", "_", f"{data_set}_{run}_{suite}")
        atomic.write_json(config.output_dir / "clip_benchmark" / f"{name}.json", result)
    atomic.write_text(config.output_dir / "clip_benchmark.csv", _csv(results.values()))
    for run in sorted({run for run, _, _ in groups}):
        lines = [json.dumps(line) for line in datacomp_lines(_for_datacomp(groups, run), registry)]
        if lines:
            path = config.output_dir / "datacomp" / run.replace("/", "_") / "eval_results.jsonl"
            atomic.write_text(path, "".join(f"{line}\n" for line in lines))
    print(f"{config.output_dir}: {len(results)} results")


def grouped(rows: Iterable[Row]) -> dict[Measured, list[Row]]:
    """Gather rows by run, suite and data set; raises UserError where one of these was measured by unlike protocols."""
    groups: dict[Measured, list[Row]] = {}
    for row in rows:
        if row.suite in CLIP_SUITES and "mode" in row.manifest:
            groups.setdefault((row.run, row.suite, str(row.manifest["dataset"])), []).append(row)
    for (run, _, data_set), found in groups.items():
        measured = sorted({row.measured_as for row in found})
        if len(measured) > 1:
            fix = "Measure it again, in one piece"
            where = f"{run} on {data_set}"
            raise UserError("rows of unlike manifests", where=where, found=measured[:2], wanted="one protocol", fix=fix)
    return groups


def clip_benchmark_result(rows: Sequence[Row], registry: Registry) -> dict[str, Any]:
    """Return what CLIP_benchmark writes of one evaluation; metrics of one data set under its own names for them."""
    row = rows[0]
    data_set = str(row.manifest["dataset"])
    known = registry.entries.get(data_set)
    return {
        "dataset": (known.clip_benchmark if known else None) or data_set,
        "model": row.run,
        "pretrained": row.checkpoint_sha256[:8],
        "task": _TASKS[str(row.manifest["task"])],
        "metrics": {each.metric.split("/")[1]: each.value for each in rows},
        "language": "en",
    }


def datacomp_lines(groups: Mapping[str, Sequence[Row]], registry: Registry) -> list[dict[str, Any]]:
    """Return one line for each data set that DataComp has, with the `main_metric` that its average takes."""
    lines = []
    for data_set, rows in groups.items():
        entry = registry.entries.get(data_set)
        if entry is None or entry.datacomp_key is None:
            continue
        metrics = {row.metric.split("/")[1]: row.value for row in rows}
        if entry.task == "retrieval":
            both = metrics["text_retrieval_recall@1"], metrics["image_retrieval_recall@1"]
            metrics["mean_recall@1"] = sum(both) / 2
        metrics["main_metric"] = _main(entry, metrics)
        lines.append({"key": entry.datacomp_key, "dataset": entry.datacomp_name, "metrics": metrics})
    return lines


def _main(entry: Entry, metrics: Mapping[str, float]) -> float:
    if entry.main_metric not in metrics:
        raise UserError("no such metric", where=entry.name, found=sorted(metrics), wanted=entry.main_metric)
    return metrics[entry.main_metric]


def _for_datacomp(groups: Mapping[Measured, Sequence[Row]], run: str) -> dict[str, Sequence[Row]]:
    """Return a run's results by data set, as CLIP_benchmark counts them where both were measured: DataComp does so."""
    found: dict[str, Sequence[Row]] = {}
    for (of_run, suite, data_set), rows in groups.items():
        if of_run == run and (suite == "clip_benchmark" or data_set not in found):
            found[data_set] = rows
    return found


def _csv(results: Iterable[Mapping[str, Any]]) -> str:
    """Return the table that `clip_benchmark build` makes of the files, its columns in a fixed order."""
    records = [
        {**result["metrics"], **{name: result[name] for name in _CSV_COLUMNS[:-1]}, "model_fullname": _full(result)}
        for result in results
    ]
    metrics = sorted({name for record in records for name in record} - set(_CSV_COLUMNS))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, fieldnames=[*_CSV_COLUMNS, *metrics], lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return stream.getvalue()


def _full(result: Mapping[str, Any]) -> str:
    return f"{result['model']} {result['pretrained']}"
