"""CLIP_benchmark's own command line, run in this process."""

import json
import sys
from pathlib import Path

import pytest
from clip_benchmark import cli


def clip_benchmark(
    monkeypatch: pytest.MonkeyPatch, model: Path, name: str, folder: Path, task: str, output: Path
) -> dict[str, float]:
    """Evaluate an open_clip directory on a webdataset in float32; return its metrics."""
    flags = ["--dataset", name, "--dataset_root", str(folder), "--pretrained_model", f"local-dir:{model},"]
    flags += ["--task", task, "--no_amp", "--num_workers", "0", "--recall_k", "1", "5", "--output", str(output)]
    monkeypatch.setattr(sys, "argv", ["clip_benchmark", "eval", *flags, "--quiet"])
    cli.main()
    metrics: dict[str, float] = json.loads(output.read_text())["metrics"]
    assert len(metrics) >= 3
    return metrics
