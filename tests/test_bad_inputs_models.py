"""Models that are missing, damaged, of another shape or of another stage: named in one line, with code 2."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.good_inputs import GoodInputs
from tests.refusal import Refused


def _widen(folder: Path) -> None:
    """Give every model below a folder weights of twice the width that its config says."""
    for path in folder.rglob("*.safetensors"):
        save_file(
            {name: torch.cat([each, each]) if each.ndim else each for name, each in load_file(path).items()}, path
        )


def _cut(folder: Path) -> None:
    for path in folder.rglob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-1000])


def _scribble(folder: Path) -> None:
    for path in folder.rglob("*.safetensors"):
        path.write_text("no weights at all")


def _drop(folder: Path) -> None:
    for path in folder.rglob("*.safetensors"):
        save_file(dict(list(load_file(path).items())[::2]), path)


def _lose_weights(folder: Path) -> None:
    for path in folder.rglob("*.safetensors"):
        path.unlink()


def _lose_tokenizer(folder: Path) -> None:
    for path in folder.rglob("tokenizer*.json"):
        path.unlink()


def _garble_config(folder: Path) -> None:
    for path in [*folder.rglob("config.json"), *folder.rglob("open_clip_config.json")]:
        path.write_text("{")


def _garble_tokenizer(folder: Path) -> None:
    for path in folder.rglob("tokenizer.json"):
        path.write_text("{")


DAMAGES: dict[str, Callable[[Path], None]] = {
    "another width": _widen,
    "weights cut": _cut,
    "weights garbled": _scribble,
    "weights incomplete": _drop,
    "weights missing": _lose_weights,
    "tokenizer missing": _lose_tokenizer,
    "tokenizer garbled": _garble_tokenizer,
    "config garbled": _garble_config,
}
READERS = ("dit_train", "llava_train", "recaption run", "eval captioner", "eval clip", "eval images")


def model_read_by(stage: str, good: GoodInputs) -> Path:
    return {
        "dit_train": lambda: good.foundation / "export" / "hf",
        "llava_train": lambda: good.foundation / "export" / "hf",
        "recaption run": lambda: good.captioner / "export",
        "eval captioner": lambda: good.captioner,
        "eval clip": lambda: good.clip_run,
        "eval images": lambda: good.dit_run,
    }[stage]()


def flag(stage: str, model: Path) -> str:
    name = {"dit_train": "text_encoder", "llava_train": "vision_tower", "recaption run": "model"}.get(stage, "run")
    return f"--{name}={model}"


@pytest.mark.parametrize(
    ("stage", "damage"),
    # A vision tower has no tokenizer: the captioner learns its own.
    [(stage, damage) for stage in READERS for damage in DAMAGES if stage != "llava_train" or "tokenizer" not in damage],
)
def test_a_damaged_model_is_named(stage: str, damage: str, good: GoodInputs, refused: Refused, tmp_path: Path) -> None:
    source = model_read_by(stage, good)
    shutil.copytree(source, tmp_path / "model", ignore=shutil.ignore_patterns("checkpoints"))
    DAMAGES[damage](tmp_path / "model")
    said = refused(stage, *good.arguments(stage), flag(stage, tmp_path / "model"), f"--output_dir={tmp_path / 'out'}")
    assert f"{tmp_path / 'model'}" in said
    if damage == "another width":
        assert "shape" in said or "size" in said


@pytest.mark.parametrize("stage", READERS)
def test_a_model_of_another_stage_is_named(stage: str, good: GoodInputs, refused: Refused, tmp_path: Path) -> None:
    whole_run = stage.startswith("eval")
    others = {good.clip_run, good.captioner, good.dit_run}
    for other in others - {model_read_by(stage, good), model_read_by(stage, good).parent}:
        model = other if whole_run else other / "export"
        said = refused(stage, *good.arguments(stage), flag(stage, model), f"--output_dir={tmp_path / 'out'}")
        assert str(model) in said and "wanted" in said


@pytest.mark.parametrize("stage", READERS)
def test_no_model_at_all_is_named(stage: str, good: GoodInputs, refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("no folder")
    for name in ("empty", "file", "nowhere"):
        model = tmp_path / name
        said = refused(stage, *good.arguments(stage), flag(stage, model), f"--output_dir={tmp_path / 'out'}")
        assert str(model) in said


@pytest.mark.parametrize("damage", ["nowhere", *(pytest.param(each, marks=pytest.mark.slow) for each in DAMAGES)])
def test_a_model_that_no_worker_can_open_is_named(
    damage: str, good: GoodInputs, refused: Refused, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    if damage != "nowhere":
        shutil.copytree(good.captioner / "export", model)
        DAMAGES[damage](model)
    arguments = [*good.recaption(), f"--model={model}", "--workers=2", f"--output_dir={tmp_path / 'out'}"]
    assert str(model) in refused("recaption run", *arguments)


@pytest.mark.parametrize("stage", ["clip_train", "dit_train", "llava_train"])
def test_a_checkpoint_of_another_width_is_refused(
    stage: str, good: GoodInputs, refused: Refused, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(good.finished(stage), run)
    for mark in run.rglob("done.json"):
        mark.unlink()
    shutil.rmtree(run / "export")
    for folder in run.rglob("step-*"):
        _widen(folder)
        _seal(folder)
    said = refused(stage, *good.arguments(stage), f"--output_dir={run}")
    assert "model.safetensors: tensor " in said and "has another shape: found [" in said


def _seal(checkpoint: Path) -> None:
    """Write the manifest that belongs to a checkpoint's files, as if it had been saved so."""
    from runtime.checkpoints import MANIFEST_FILE, _describe

    manifest = json.loads((checkpoint / MANIFEST_FILE).read_text())
    manifest["files"] = {name: _describe(checkpoint / name) for name in manifest["files"]}
    (checkpoint / MANIFEST_FILE).write_text(json.dumps(manifest))


def test_a_finished_phase_of_another_width_is_refused(good: GoodInputs, refused: Refused, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(good.captioner, run)
    (run / "done.json").unlink()
    _widen(run / "phases" / "language")
    said = refused("llava_train", *good.arguments("llava_train"), f"--output_dir={run}")
    assert f"{run / 'phases' / 'language' / 'model.safetensors'}: tensor " in said and "another shape" in said
