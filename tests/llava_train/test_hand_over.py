"""The captioner between two phases: kept where it can train on, built anew where it cannot."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from llava_train.hand_over import HandOver
from runtime.errors import UserError


class Builder:
    """Build stand-ins for a captioner, alike ones, and count them."""

    def __init__(self) -> None:
        self.num_built = 0

    def __call__(self) -> Any:
        self.num_built += 1
        model = nn.Linear(2, 2)
        nn.init.zeros_(model.weight)
        nn.init.zeros_(model.bias)
        return model


@pytest.fixture
def builder() -> Builder:
    return Builder()


def write(folder: Path, value: float) -> Path:
    file = folder / f"{value}.safetensors"
    save_file({"weight": torch.full((2, 2), value), "bias": torch.zeros(2)}, file)
    return file


def test_an_object_that_can_train_on_stays(builder: Builder, tmp_path: Path) -> None:
    captioner = HandOver(builder(), builder)
    first = captioner.llava()
    captioner.finish_phase(write(tmp_path, 1.0), is_usable=True)
    assert captioner.llava() is first and builder.num_built == 1
    # It was trained in place: the file says what it holds, and is not read again.
    assert not first.weight.any()


def test_one_that_was_shared_out_is_built_anew_with_its_weights(builder: Builder, tmp_path: Path) -> None:
    captioner = HandOver(builder(), builder)
    first = captioner.llava()
    captioner.finish_phase(write(tmp_path, 2.0), is_usable=False)
    again = captioner.llava()
    assert again is not first and builder.num_built == 2
    assert again.weight.unique().tolist() == [2.0]


def test_a_finished_phase_is_read_at_once_and_survives_a_later_one_that_is_shared_out(
    builder: Builder, tmp_path: Path
) -> None:
    captioner = HandOver(builder(), builder)
    captioner.load(write(tmp_path, 3.0))
    assert captioner.llava().weight.unique().tolist() == [3.0]
    captioner.finish_phase(write(tmp_path, 4.0), is_usable=False)
    assert captioner.llava().weight.unique().tolist() == [4.0]
    with pytest.raises(UserError, match="no weights here"):
        captioner.load(tmp_path / "absent.safetensors")
