"""Rows for other tools: read by CLIP_benchmark's own `build` and as DataComp reads its results."""

import csv
import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from eval.__main__ import main
from eval.rows import Row, append_rows
from runtime.errors import UserError


def row(data_set: str, task: str, metric: str, value: float) -> Row:
    return Row(
        suite="clip",
        metric=f"{data_set}/{metric}",
        value=value,
        count=10,
        low=value,
        high=value,
        protocol="p",
        run="clip/b",
        seed=0,
        checkpoint_sha256="0123456789",
        data_fingerprint="d",
        manifest={"dataset": data_set, "task": task, "mode": "official", "num_images": 10},
    )


ROWS = [
    row("coco", "retrieval", "text_retrieval_recall@1", 0.5),
    row("coco", "retrieval", "image_retrieval_recall@1", 0.3),
    row("imagenet", "classification", "acc1", 0.69),
    row("imagenet", "classification", "acc5", 0.9),
    row("wds/mine", "classification", "acc1", 0.2),
]


def exported(tmp_path: Path, rows: list[Row]) -> Path:
    append_rows(tmp_path / "rows.jsonl", rows)
    main(["export", "--rows", str(tmp_path / "rows.jsonl"), "--output_dir", str(tmp_path / "out")])
    return tmp_path / "out"


def test_clip_benchmarks_build_reads_our_files_and_makes_our_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clip_benchmark import cli

    out = exported(tmp_path, ROWS)
    built = tmp_path / "built.csv"
    argv = ["clip_benchmark", "build", str(out / "clip_benchmark"), "--output", str(built)]
    monkeypatch.setattr(sys, "argv", argv)
    cli.main()
    theirs, ours = (
        sorted(csv.DictReader(path.read_text().splitlines()), key=lambda line: line["dataset"])
        for path in (built, out / "clip_benchmark.csv")
    )
    assert theirs == ours and len(ours) == 3
    by_name = {line["dataset"]: line for line in theirs}
    assert by_name["imagenet1k"]["acc1"] == "0.69" and by_name["imagenet1k"]["task"] == "zeroshot_classification"
    assert by_name["mscoco_captions"]["text_retrieval_recall@1"] == "0.5"
    assert by_name["wds/mine"]["model_fullname"] == "clip/b 01234567"


def test_datacomp_reads_our_results(tmp_path: Path) -> None:
    out = exported(tmp_path, ROWS)
    path = out / "datacomp" / "clip_b" / "eval_results.jsonl"
    # What its aggregate_scores.py does with the file before it averages.
    frame = pd.read_json(path, lines=True)
    frame = pd.concat([frame.drop(["metrics"], axis=1), frame["metrics"].apply(pd.Series)], axis=1)
    frame = frame.dropna(subset=["main_metric"])
    scores = dict(zip(frame.dataset, frame.main_metric, strict=True))
    assert scores == {"MSCOCO": pytest.approx(0.4), "ImageNet 1k": pytest.approx(0.69)}
    keys = [json.loads(line)["key"] for line in path.read_text().splitlines()]
    assert keys == ["retrieval/mscoco_2014_5k_test_image_text_retrieval", "imagenet1k"]


def test_the_last_row_of_a_number_is_exported(tmp_path: Path) -> None:
    again = replace(ROWS[2], value=0.7)
    out = exported(tmp_path, [*ROWS, again])
    assert [line["acc1"] for line in csv.DictReader((out / "clip_benchmark.csv").read_text().splitlines())][1] == "0.7"


def test_rows_of_unlike_manifests_are_no_result(tmp_path: Path) -> None:
    other = replace(ROWS[0], manifest={**ROWS[0].manifest, "num_images": 9})
    with pytest.raises(UserError, match="clip/b on coco: rows of unlike manifests"):
        exported(tmp_path, [other, ROWS[1]])


def test_rows_of_no_known_data_set_are_refused(tmp_path: Path) -> None:
    strange = replace(ROWS[0], suite="captions", value=math.nan)
    with pytest.raises(UserError, match="nothing to export"):
        exported(tmp_path, [strange])
