"""What a run is said to cost, against figures that were reckoned apart."""

from pathlib import Path

import pytest
import torch

from dit_train.__main__ import main
from dit_train.config import DitTrainConfig
from dit_train.plan import VAE_ENCODE_MACS_PER_PIXEL, geometry_of, reckon, saved_bytes
from runtime.config import load
from runtime.errors import UserError
from tests.dit_train.conftest import small_transformer

PAPER = Path(__file__).parents[2] / "configs" / "dit" / "paper.yaml"


@pytest.mark.parametrize(("model", "gigaflops"), [("B/4", 46.2), ("L/2", 590.5), ("XL/2", 867.5)])
def test_a_training_step_costs_what_the_paper_models_are_known_to(model: str, gigaflops: float) -> None:
    """Three forward passes; the known figures leave out small layers, a hundredth of B/4's."""
    config = load(DitTrainConfig, PAPER, overrides=[f"--model={model}"])
    work = reckon(config)
    assert work.transformer / 1e9 == pytest.approx(gigaflops, rel=0.015)
    assert work.text / 2e9 == pytest.approx(6.65, rel=0.01)  # CLIP-L's text tower on 77 tokens
    seconds = work.num_samples * work.total / (64 * 0.3 * 989.4e12)
    assert work.hours == pytest.approx(seconds / 3600)


def test_a_picture_is_encoded_for_what_the_autoencoder_is_known_to_cost() -> None:
    assert pytest.approx(136.4e9) == VAE_ENCODE_MACS_PER_PIXEL * 256**2


def test_saved_numbers_are_those_that_autograd_keeps() -> None:
    """Counted on meta, against what the same pass keeps of real numbers."""
    config = load(DitTrainConfig, PAPER)
    geometry = geometry_of(config)
    shape = {
        "sample_size": geometry.grid_size, "in_channels": 4, "patch_size": 4, "predicts_image": False,
        "text_window": 1, "text_summary": False, "head_layers": 1, "text_width": 768,
    }  # fmt: skip
    with torch.device("meta"):
        reckoned = saved_bytes(small_transformer(**shape), geometry)
    model, kept = small_transformer(**shape), {}
    model.attention_implementation = "sdpa"

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = model(torch.zeros(1, 4, 32, 32), torch.zeros(1), torch.zeros(1, 77, 768), torch.ones(1, 77).bool())
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    found = sum(size for pointer, size in kept.items() if pointer not in weights) / 2
    assert output.sample.shape == (1, 4, 32, 32)
    # Attention keeps other buffers on a CPU than on meta.
    assert reckoned == pytest.approx(found, rel=0.25)


def test_the_command_prints_the_plan_and_writes_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["--config", str(PAPER), "--plan"])
    printed = capsys.readouterr().out
    assert [line for line in printed.splitlines() if line.startswith("## ")] == [
        "## Parameters of B/4, adaln_zero",
        "## Encoding, once for all runs",
        "## Training",
        "## Memory",
    ]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("--plan.num_gpus=60", "does not divide over the GPUs: found 2048"),
        ("--image_size_px=264", "does not divide into patches: found 264, wanted a multiple of 32"),
    ],
)
def test_what_does_not_divide_is_refused(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        reckon(load(DitTrainConfig, PAPER, overrides=[override]))
