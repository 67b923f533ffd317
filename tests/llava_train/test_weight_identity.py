"""Large files of weights are told apart by a sample of their bytes, as far as promised and no further."""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from llava_train import weight_identity
from llava_train.weight_identity import weight_fingerprint

NUM_BLOCKS, BLOCK_BYTES, HEAD_BYTES = 16, 64, 4096
RUN_BYTES = 40_000
"""More than a fifteenth of the file, and so never between two blocks."""


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that is large by the measures of this test: about 513 kB."""
    for name, value in (("NUM_BLOCKS", NUM_BLOCKS), ("BLOCK_BYTES", BLOCK_BYTES), ("HEAD_BYTES", HEAD_BYTES)):
        monkeypatch.setattr(weight_identity, name, value)
    monkeypatch.setattr(weight_identity, "WHOLE_BYTES", 2**18)
    generator = torch.Generator().manual_seed(0)
    file = tmp_path / "model.safetensors"
    save_file({f"layer.{i}.weight": torch.randn(128, 128, generator=generator) for i in range(8)}, file)
    return file


def test_small_files_are_identified_by_all_their_bytes(weights: Path) -> None:
    small = weights.with_name("small.bin")
    small.write_bytes(weights.read_bytes()[: 2**18])
    assert weight_fingerprint(small) == hashlib.sha256(small.read_bytes()).hexdigest()
    assert re.fullmatch(r"sampled-[0-9a-f]{64}", weight_fingerprint(weights))


def train_on(file: Path) -> None:
    save_file({name: tensor + 1e-3 for name, tensor in load_file(file).items()}, file)


def rename(file: Path) -> None:
    save_file({name.replace("layer", "block"): tensor for name, tensor in load_file(file).items()}, file)


def narrow(file: Path) -> None:
    # Twice as many half as wide: a file of the same size.
    tensors = load_file(file)
    save_file({name: torch.cat([tensor, tensor]).bfloat16() for name, tensor in tensors.items()}, file)


def cut_short(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


@pytest.mark.parametrize("change", [train_on, rename, narrow, cut_short])
def test_other_models_are_noticed(weights: Path, change: Callable[[Path], None]) -> None:
    before = weight_fingerprint(weights)
    change(weights)
    assert weight_fingerprint(weights) != before


@pytest.mark.parametrize("start", [0, 123_457, 300_001, -RUN_BYTES])
def test_a_run_of_other_bytes_is_noticed_wherever_it_lies(weights: Path, start: int) -> None:
    before, content = weight_fingerprint(weights), bytearray(weights.read_bytes())
    start %= len(content)
    assert len(content) / (NUM_BLOCKS - 1) < RUN_BYTES
    content[start : start + RUN_BYTES] = bytes(byte ^ 1 for byte in content[start : start + RUN_BYTES])
    weights.write_bytes(content)
    assert weight_fingerprint(weights) != before


def test_what_lies_between_the_blocks_is_not_read(weights: Path) -> None:
    before, content = weight_fingerprint(weights), bytearray(weights.read_bytes())
    second_block = (len(content) - BLOCK_BYTES) // (NUM_BLOCKS - 1)
    content[second_block - 1] ^= 1
    weights.write_bytes(content)
    assert weight_fingerprint(weights) == before
    content[second_block] ^= 1
    weights.write_bytes(content)
    assert weight_fingerprint(weights) != before
