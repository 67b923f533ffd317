"""A run is continued on the inputs that it was started on, wherever they lie, and on no others."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from llava_train import phases, weight_identity
from llava_train.config import FineTuneConfig
from llava_train.inputs import FILE_NAME, fingerprints
from runtime.errors import UserError
from tests.llava_train import tiny


@pytest.fixture
def moved(root: Path, export: Path, tmp_path: Path) -> FineTuneConfig:
    """A finished run whose inputs and folder were copied elsewhere."""
    for name in ("clip", "data"):
        shutil.copytree(root / name, tmp_path / name)
    shutil.copytree(export.parent, tmp_path / "run")
    return tiny.config(tmp_path, tmp_path / "run")


def double_weights(config: FineTuneConfig) -> None:
    file = config.vision_tower / "model.safetensors"
    save_file({name: 2 * tensor for name, tensor in load_file(file).items()}, file, metadata={"format": "pt"})


def change_colours(config: FineTuneConfig) -> None:
    file = config.vision_tower / "preprocessor_config.json"
    if not file.exists():
        file = config.vision_tower / "processor_config.json"
    file.write_text(file.read_text().replace("0.4", "0.5"))


def drop_a_conversation(config: FineTuneConfig) -> None:
    file = config.data / "align.json"
    file.write_text(json.dumps(json.loads(file.read_text())[1:]))


def forget_the_end(config: FineTuneConfig) -> None:
    """Make a stopped run of a finished one: its first phase done, nothing else."""
    (config.output_dir / "done.json").unlink()
    for name in ("align", "instruct", "detail"):
        shutil.rmtree(config.output_dir / "phases" / name)


def test_inputs_are_recorded_by_fingerprint(export: Path) -> None:
    recorded = json.loads((export.parent / FILE_NAME).read_text())
    assert {name for name in recorded if "processor" not in name} == {
        "vision_tower/model.safetensors", "data/text.json", "data/align.json", "data/instruct.json", "data/detail.json",
    }  # fmt: skip
    assert any("processor" in name for name in recorded)
    assert all(len(value) == 64 for value in recorded.values())


@pytest.mark.parametrize("stopped", [False, True], ids=["finished", "stopped"])
@pytest.mark.parametrize(
    ("change", "name"),
    [
        (double_weights, r"vision_tower/model\.safetensors"),
        (change_colours, r"vision_tower/\w+\.json"),
        (drop_a_conversation, r"data/align\.json"),
    ],
)
def test_other_inputs_are_refused(moved: FineTuneConfig, change, name: str, stopped: bool) -> None:
    if stopped:
        forget_the_end(moved)
    change(moved)
    message = rf"was started on another {name}: found \w{{64}}, wanted \w{{64}}\. Give back the (data|vision_tower)"
    with pytest.raises(UserError, match=message):
        phases.fine_tune(moved)


def test_a_large_file_of_weights_is_told_from_another_by_a_sample(
    moved: FineTuneConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weight_identity, "WHOLE_BYTES", 1024)
    weights = ["vision_tower/model.safetensors"]
    before = fingerprints(moved)
    assert [name for name, value in before.items() if value.startswith("sampled-")] == weights
    double_weights(moved)
    after = fingerprints(moved)
    assert [name for name in before if before[name] != after[name]] == weights


def test_same_inputs_elsewhere_continue(moved: FineTuneConfig, export: Path) -> None:
    forget_the_end(moved)
    continued = load_file(phases.fine_tune(moved) / "model.safetensors")
    undisturbed = load_file(export / "model.safetensors")
    assert all(torch.equal(undisturbed[name], continued[name]) for name in undisturbed)


def test_mistake_in_the_data_may_be_put_right_in_the_same_folder(moved: FineTuneConfig, tmp_path: Path) -> None:
    config = dataclasses.replace(moved, output_dir=tmp_path / "new", phases=["align"])
    whole = (config.data / "align.json").read_text()
    (config.data / "align.json").write_text(whole.replace("<image>", "picture"))
    with pytest.raises(
        UserError, match=r"align\.json: record 0 \(align-0\): wrong number of <image>: found 0 in human"
    ):
        phases.fine_tune(config)
    (config.data / "align.json").write_text(whole)
    assert phases.fine_tune(config).is_dir()
