"""From a model's name and folders of data to rows: open, check, encode once, score every test set."""

import re
from collections.abc import Sequence
from pathlib import Path

import torch

from eval.clip_models import HUB, LOCAL, ClipModel, load_clip
from eval.config import BenchmarkConfig
from eval.datasets.entries import load_registry
from eval.datasets.opening import open_test_sets
from eval.datasets.samples import TestSet
from eval.embedding_cache import EmbeddingCache
from eval.encoding import Encoding, encode
from eval.rows import latest_rows, read_rows
from eval.runs import run_config, run_name
from eval.scoring import Mode
from eval.suite import Subject, run_suite
from eval.suites.benchmarks import Bench, measure_bench
from eval.tables.cells import format_interval
from runtime.device import pick_device
from runtime.errors import UserError
from runtime.intervals import Interval
from runtime.launch import is_main_process
from runtime.tables import Align, markdown_table

LEDGER = "rows.jsonl"
"""Every row of an output folder, of all models; several processes may append to it."""
SUITES: dict[Mode, str] = {"official": "clip", "clip_benchmark": "clip_benchmark"}
"""The suite that a mode's rows carry, so that the two are never taken for one."""
_COUNTED = ("tokens",)
"""Metrics that are no shares."""
_HEADERS = ("suite", "data set", "metric", "value", "items")
_ALIGN: Sequence[Align] = ("left", "left", "left", "right", "right")


def benchmark(config: BenchmarkConfig) -> None:
    """Measure a contrastive model on every data set named; rows go to `<output_dir>/rows.jsonl`.

    Under torchrun all ranks encode and the first one scores; any number of ranks gives the same rows.
    """
    torch.set_num_threads(config.threads)
    test_sets = open_test_sets(load_registry(config.registry), config.datasets, partial=config.partial)
    model = load_clip(config.model, pick_device(config.device), config.precision)
    cache = config.cache or config.output_dir / "embeddings"
    encoding = encode(
        model,
        test_sets,
        (EmbeddingCache(cache, model.identity, "pictures"), EmbeddingCache(cache, model.identity, "texts")),
        batch_size=config.batch_size,
        num_threads=config.decode_threads,
    )
    if encoding is None:
        assert not is_main_process(), "the main process scores"
        return
    for test_set in test_sets:
        for mode in config.modes:
            _measure(config, model, encoding, test_set, mode)
    print(_summary(config, model, test_sets))


def subject_name(config: BenchmarkConfig) -> str:
    """Return the run that rows name: as told, `<stage>/<name>` of a trained run's export, or the model's own name."""
    if config.name is not None:
        return config.name
    run = _trained_run(config.model)
    if run is not None:
        return run_name(run)
    bare = config.model.removeprefix(LOCAL).removeprefix(HUB)
    return "model/" + re.sub(r"[^\w.-]+", "_", bare.rstrip("/")).strip("_")


def _measure(config: BenchmarkConfig, model: ClipModel, encoding: Encoding, test_set: TestSet, mode: Mode) -> None:
    entry = test_set.entry
    if mode == "clip_benchmark" and entry.clip_benchmark is None:
        print(f"{entry.name}: CLIP_benchmark does not have it, so it is not measured in that mode")
        return
    bench = Bench(test_set=test_set, encoding=encoding, model=model, mode=mode)
    name = subject_name(config)
    subject = Subject(
        run=name,
        seed=_training_seed(config.model),
        checkpoint_sha256=model.encoder.checkpoint_sha256,
        data_fingerprint=encoding.fingerprint(test_set),
    )
    folder = config.output_dir / name / SUITES[mode] / entry.name.replace("/", "_")
    settings = (entry, mode, model.identity, config.bootstrap_replicates)
    run_suite(
        folder,
        subject,
        settings,
        lambda: measure_bench(bench, config.bootstrap_replicates),
        suite=SUITES[mode],
        ledger=config.output_dir / LEDGER,
    )


def _trained_run(spec: str) -> Path | None:
    """Return the run folder whose `export/` this is; None for any other model."""
    folder = Path(spec.removeprefix(LOCAL))
    return folder.parent if folder.name == "export" and (folder.parent / "config.yaml").is_file() else None


def _training_seed(spec: str) -> int | None:
    run = _trained_run(spec)
    if run is None:
        return None
    seed = run_config(run).get("seed", 0)
    if not isinstance(seed, int):
        raise UserError("wrong value for seed", where=run / "config.yaml", found=seed, wanted="a whole number")
    return seed


def _summary(config: BenchmarkConfig, model: ClipModel, test_sets: Sequence[TestSet]) -> str:
    """Return a table of what is now known of the model on these data sets."""
    names = {test_set.entry.name.replace("/", "_") for test_set in test_sets}
    rows = [
        (row.suite, *row.metric.split("/"), _cell(row.metric, row.value, row.low, row.high), str(row.count))
        for row in latest_rows(read_rows(config.output_dir / LEDGER))
        if row.run == subject_name(config) and row.metric.split("/")[0] in names
    ]
    title = f"{subject_name(config)} ({model.encoder.checkpoint_sha256[:8]}), percent with 95 % intervals"
    return f"\n{title}\n\n" + markdown_table(_HEADERS, rows, _ALIGN)


def _cell(metric: str, value: float, low: float, high: float) -> str:
    scale = 1.0 if metric.split("/")[1] in _COUNTED else 100.0
    return format_interval(Interval(value, low, high), scale, 2)
