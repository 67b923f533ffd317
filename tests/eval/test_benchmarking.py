"""`python -m eval benchmark`: every format through one command, encoded once, by one rank or two, refused by name."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from eval import encoding
from eval.__main__ import main
from eval.benchmarking import benchmark
from eval.clip_models import ClipModel
from eval.config import BenchmarkConfig
from eval.rows import Row, read_rows
from runtime.errors import UserError
from tests.eval import data_sets
from tests.eval.clip_folder import MODEL, write_clip
from tests.eval.their_command import clip_benchmark
from tests.refusal import Refused

QUICK = {"partial": True, "bootstrap_replicates": 20, "batch_size": 4, "device": "cpu"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "mine")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One small data set of every task."""
    root = tmp_path_factory.mktemp("data")
    return {
        "wds/pairs": data_sets.retrieval_webdataset(root / "pairs"),
        "wds/classes": data_sets.classification_webdataset(root / "classes"),
        "urban1k": data_sets.urban1k(root / "urban1k"),
        "aro": data_sets.aro(root / "aro"),
        "sugar_crepe": data_sets.sugar_crepe(root / "sugar_crepe"),
        "winoground": data_sets.winoground(root / "winoground"),
    }


def measured(folder: Path) -> dict[tuple[str, str], Row]:
    return {(row.suite, row.metric): row for row in read_rows(folder / "rows.jsonl")}


@pytest.fixture(scope="module")
def rows(model: Path, folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Row]:
    out = tmp_path_factory.mktemp("out")
    modes = ("official", "clip_benchmark")
    benchmark(BenchmarkConfig(model=str(model), datasets=folders, output_dir=out, modes=modes, **QUICK))
    return measured(out)


def test_every_row_says_how_it_was_measured(rows: dict[tuple[str, str], Row]) -> None:
    row = rows["clip", "wds_pairs/text_retrieval_recall@1"]
    assert row.run.endswith("mine") and row.count == 9 and row.low <= row.value <= row.high
    assert len(row.checkpoint_sha256) == len(row.data_fingerprint) == 64 and row.seed is None
    facts = row.manifest
    assert (facts["num_images"], facts["num_texts"], facts["split"], facts["mode"]) == (9, 18, "test", "official")
    assert (facts["context_length_tokens"], facts["precision"]) == (16, "float32")
    assert facts["tie_policy"] == "expected under random order" and facts["text_preprocessing"] == "as_is"
    assert "Resize(size=32" in str(facts["image_transform"]) and len(str(facts["annotation_sha256"])) == 64


def test_every_task_has_its_numbers(rows: dict[tuple[str, str], Row]) -> None:
    assert rows["clip", "vg_attribution/acc"].count == 26 and rows["clip", "vg_attribution/acc_micro"].count == 28
    assert rows["clip", "vg_relation/acc"].count == 3
    assert {metric.split("/")[0] for _, metric in rows} >= {f"sugar_crepe_{name}" for name in data_sets.SUGAR_CREPE}
    assert rows["clip", "winoground/text_acc"].count == 2
    assert rows["clip_benchmark", "winoground/acc"].count == 2
    assert ("clip_benchmark", "vg_relation/acc") not in rows
    assert rows["clip", "urban1k/tokens"].value > 0


def test_texts_cut_to_equal_tokens_tie_exactly(model: Path, tmp_path: Path) -> None:
    """A true and a false caption that differ behind the context are one text to the model."""
    folder = data_sets.sugar_crepe(tmp_path / "s")
    start = "word " * 20
    cases = {"0": {"filename": f"{0:012}.jpg", "caption": f"{start}yes", "negative_caption": f"{start}no"}}
    data_sets.write_json(folder / "add_att.json", cases)
    modes = ("official", "clip_benchmark")
    datasets = {"sugar_crepe/add_att": folder}
    benchmark(BenchmarkConfig(model=str(model), datasets=datasets, output_dir=tmp_path, modes=modes, **QUICK))
    found = measured(tmp_path)
    assert found["clip", "sugar_crepe_add_att/acc"].value == 0.0
    assert found["clip", "sugar_crepe_add_att/tied_share"].value == 1.0
    assert found["clip", "sugar_crepe_add_att/truncated_share"].value == 1.0
    assert found["clip_benchmark", "sugar_crepe_add_att/acc"].value == 1.0


class Counter:
    """Count what goes through a model's towers."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.num_pictures = self.num_texts = 0
        pictures, texts = ClipModel.encode_pictures, ClipModel.encode_texts

        def encode_pictures(model: ClipModel, prepared: Sequence[torch.Tensor]) -> np.ndarray:
            self.num_pictures += len(prepared)
            return pictures(model, prepared)

        def encode_texts(model: ClipModel, words: Sequence[str]) -> np.ndarray:
            self.num_texts += len(words)
            return texts(model, words)

        monkeypatch.setattr(ClipModel, "encode_pictures", encode_pictures)
        monkeypatch.setattr(ClipModel, "encode_texts", encode_texts)


def test_each_picture_and_text_is_encoded_once_for_all_sets_and_commands(
    model: Path, folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = Counter(monkeypatch)
    sugar = {"sugar_crepe": folders["sugar_crepe"]}
    config = {"model": str(model), "cache": tmp_path / "cache", **QUICK}
    benchmark(BenchmarkConfig(datasets=sugar, output_dir=tmp_path / "a", **config))
    # Seven sets over the same two pictures and four texts.
    assert (counter.num_pictures, counter.num_texts) == (2, 4)
    more = {**sugar, "wds/pairs": folders["wds/pairs"]}
    benchmark(BenchmarkConfig(datasets=more, output_dir=tmp_path / "b", **config))
    # The noise of seed 0 and 2 is in both; of 18 captions some come twice.
    assert counter.num_pictures == 2 + 9 - 2 and counter.num_texts == 4 + 15
    benchmark(BenchmarkConfig(datasets=more, output_dir=tmp_path / "c", **config))
    assert counter.num_texts == 19
    other = write_clip(tmp_path / "other", seed=1)
    benchmark(BenchmarkConfig(datasets=sugar, output_dir=tmp_path / "d", **{**config, "model": str(other)}))
    assert counter.num_texts == 23


def test_two_ranks_encode_half_each_and_give_the_rows_of_one(
    model: Path, folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rank 1 first, which leaves its part and no rows; then rank 0, which finds it."""
    monkeypatch.setattr(encoding, "BATCHES_PER_BLOCK", 1)
    chosen = {name: folders[name] for name in ("wds/pairs", "wds/classes")}
    counter = Counter(monkeypatch)
    benchmark(BenchmarkConfig(model=str(model), datasets=chosen, output_dir=tmp_path / "one", **QUICK))
    whole = counter.num_pictures
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("1", "0"):
        monkeypatch.setenv("RANK", rank)
        before = counter.num_pictures
        benchmark(BenchmarkConfig(model=str(model), datasets=chosen, output_dir=tmp_path / "two", **QUICK))
        assert 0 < counter.num_pictures - before < whole
        assert (tmp_path / "two" / "rows.jsonl").exists() == (rank == "0")
    assert counter.num_pictures == 2 * whole
    assert measured(tmp_path / "two") == measured(tmp_path / "one")


def test_a_finished_set_is_not_measured_again(
    model: Path, folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = BenchmarkConfig(model=str(model), datasets={"urban1k": folders["urban1k"]}, output_dir=tmp_path, **QUICK)
    benchmark(config)
    first = (tmp_path / "rows.jsonl").read_bytes()
    benchmark(config)
    assert (tmp_path / "rows.jsonl").read_bytes() == first
    assert "urban1k: done already" in capsys.readouterr().out


def test_weights_that_are_damaged_are_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = write_clip(tmp_path / "bad") / "open_clip_model.safetensors"
    weights = load_file(path)
    save_file({**weights, "visual.proj": weights["visual.proj"] * float("nan")}, path)
    config = BenchmarkConfig(
        model=str(path.parent), datasets={"urban1k": folders["urban1k"]}, output_dir=tmp_path / "out", **QUICK
    )
    with pytest.raises(UserError, match="pictures: an embedding that is not finite: found NaN or infinite for 2 of 2"):
        benchmark(config)
    assert not (tmp_path / "out" / "rows.jsonl").exists()


def test_models_that_are_none_are_refused_by_name(model: Path, folders: dict[str, Path], tmp_path: Path) -> None:
    def refuse(spec: object, message: str) -> None:
        config = BenchmarkConfig(
            model=str(spec), datasets={"urban1k": folders["urban1k"]}, output_dir=tmp_path / "out", **QUICK
        )
        with pytest.raises(UserError, match=message):
            benchmark(config)

    refuse("ViT-B-32", r"model: no model by this name: found ViT-B-32, wanted local-dir:FOLDER")
    refuse(f"local-dir:{tmp_path}", "not an open_clip directory: found no open_clip_config.json")
    refuse(f"ViT-S-32-alt,{tmp_path}/nothing.pt", "model: the model cannot be loaded: found ViT-S-32-alt")
    blind = write_clip(tmp_path / "blind")
    (blind / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": {name: part for name, part in MODEL.items() if name != "text_cfg"}})
    )
    refuse(blind, r"open_clip_config\.json: a model without text tower")
    assert not (tmp_path / "out").exists()


def test_the_command_line_reads_models_and_data_sets(
    model: Path, folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--model", f"local-dir:{model}", "--datasets.wds/pairs", str(folders["wds/pairs"]), "--name", "model/x"]
    main(["benchmark", *flags, "--output_dir", str(tmp_path), "--bootstrap_replicates", "20", "--device", "cpu"])
    out = capsys.readouterr().out
    assert "model/x" in out and "| wds_pairs | text_retrieval_recall@5 " in out
    with pytest.raises(UserError, match="datasets: no data set to measure on"):
        BenchmarkConfig(model="x", output_dir=tmp_path, datasets={})


def test_the_command_refuses_in_one_line_before_it_writes(
    model: Path, folders: dict[str, Path], tmp_path: Path, refused: Refused
) -> None:
    rest = ("--output_dir", tmp_path / "out", "--device", "cpu")
    line = refused("eval benchmark", "--model", model, "--datasets.mscoco", folders["aro"], *rest)
    assert "error: datasets: unknown data set: found mscoco, wanted wds/NAME or one of " in line
    folder = data_sets.urban1k(tmp_path / "urban1k")
    line = refused("eval benchmark", "--model", model, "--datasets.urban1k", folder, *rest)
    assert "mismatched counts: images of urban1k: found 2, wanted 1000, as published" in line
    (folder / "image" / "002.jpg").unlink()
    line = refused("eval benchmark", "--model", model, "--datasets.urban1k", folder, *rest)
    assert "002.jpg: missing image: found 1 of 2 files are not there, wanted all images of urban1k" in line
    (folder / "image" / "002.jpg").write_bytes(b"no picture")
    flags = ("--partial", "true", *rest)
    line = refused("eval benchmark", "--model", model, "--datasets.urban1k", folder, *flags)
    assert "002.jpg: damaged image" in line
    assert not (tmp_path / "out" / "rows.jsonl").exists()


@pytest.mark.parametrize(
    ("name", "task"), [("wds/pairs", "zeroshot_retrieval"), ("wds/classes", "zeroshot_classification")]
)
def test_clip_benchmarks_own_command_gives_our_numbers(
    model: Path,
    folders: dict[str, Path],
    rows: dict[tuple[str, str], Row],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    task: str,
) -> None:
    theirs = clip_benchmark(monkeypatch, model, name, folders[name], task, tmp_path / "result.json")
    for metric, value in theirs.items():
        ours = rows["clip_benchmark", f"{name.replace('/', '_')}/{metric}"]
        assert ours.value == pytest.approx(value, abs=5e-5), metric


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_processes_of_torchrun_give_the_rows_of_one(model: Path, folders: dict[str, Path], tmp_path: Path) -> None:
    flags = ["-m", "eval", "benchmark", "--model", str(model), "--partial", "true", "--batch_size", "1"]
    flags += ["--bootstrap_replicates", "20", "--device", "cpu", "--datasets.wds/pairs", str(folders["wds/pairs"])]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for name, start in (("one", []), ("two", launcher)):
        command = [sys.executable, *start, *flags, "--output_dir", str(tmp_path / name)]
        done = subprocess.run(
            command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    assert measured(tmp_path / "two") == measured(tmp_path / "one")
