"""In what type published weights are loaded: never a narrower one than their own, and no wider than need be."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from runtime.pretrained import lossless_dtype


@pytest.mark.parametrize(
    ("types", "wanted"),
    [
        ([torch.bfloat16], torch.bfloat16),
        ([torch.bfloat16, torch.int64, torch.bool], torch.bfloat16),
        ([torch.float32], torch.float32),
        ([torch.float16], torch.float32),
        ([torch.bfloat16, torch.float32], torch.float32),
        ([torch.bfloat16, torch.float8_e4m3fn], torch.float32),
        ([torch.int64], torch.float32),
    ],
    ids=str,
)
@pytest.mark.parametrize("num_files", [1, 2])
def test_weights_are_loaded_in_the_only_type_they_have(
    tmp_path: Path, types: list[torch.dtype], wanted: torch.dtype, num_files: int
) -> None:
    tensors = {f"weight-{index}": torch.zeros(3).to(dtype) for index, dtype in enumerate(types)}
    for index in range(num_files):
        part = dict(list(tensors.items())[index::num_files])
        save_file(part, tmp_path / f"model-{index}.safetensors")
    assert lossless_dtype(tmp_path) == wanted


def test_files_that_do_not_say_what_they_hold_are_widened(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(3).bfloat16()}, tmp_path / "pytorch_model.bin")
    assert lossless_dtype(tmp_path) == torch.float32
    (tmp_path / "model.safetensors").write_bytes(b"no header")
    assert lossless_dtype(tmp_path) == torch.float32
