"""A published model takes no memory of its own until something of it trains, and nothing of it is rounded."""

import dataclasses
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import LlavaForConditionalGeneration

from llava_train import phases
from llava_train.assembly import assemble, load_foundations
from llava_train.config import FineTuneConfig, LoraConfig
from llava_train.language_models import image_tokenizer
from runtime.checkpoints import load_weights, tied_once, write_weights
from tests.llava_train import published, tiny

MIB = 2**20


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published.write_llama(tmp_path_factory.mktemp("published") / "llama", dtype=torch.bfloat16)


def private_bytes() -> int:
    """Return what this process alone holds in memory, pages of files left out."""
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("only Linux tells mapped memory from a process's own")
    match = re.search(r"^RssAnon:\s+(\d+) kB", status.read_text(), re.MULTILINE)
    assert match is not None
    return 1024 * int(match.group(1))


def built(config: FineTuneConfig, llama: Path) -> LlavaForConditionalGeneration:
    return assemble(config, load_foundations(config), image_tokenizer(llama), attention="eager")


def test_frozen_weights_stay_in_their_file(root: Path, tmp_path: Path) -> None:
    shapes = {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 8}
    llama = published.write_llama(tmp_path / "llama", dtype=torch.bfloat16, **shapes)
    config = tiny.pretrained_config(root, tmp_path / "run", llama)
    # What libraries keep once and for all, they keep of this.
    first = built(config, llama)
    num_bytes = sum(weight.nbytes for weight in first.parameters())
    assert num_bytes > 60 * MIB
    write_weights(tmp_path / "left.safetensors", tied_once(first))
    before = private_bytes()
    llava = built(config, llama)
    load_weights(tmp_path / "left.safetensors", llava)
    assert private_bytes() - before < num_bytes / 4
    assert llava.lm_head.weight.dtype == torch.bfloat16


def test_only_the_language_model_has_its_files_type(root: Path, llama: Path) -> None:
    config = tiny.pretrained_config(root, root / "unused", llama)
    llava = built(config, llama)
    types = {name.split(".")[1]: weight.dtype for name, weight in llava.named_parameters()}
    assert types["multi_modal_projector"] == types["vision_tower"] == torch.float32
    assert types["language_model"] == torch.bfloat16
    again = built(config, llama)
    torch.testing.assert_close(dict(again.state_dict()), dict(llava.state_dict()), rtol=0, atol=0)


def lean(root: Path, output_dir: Path, llama: Path, lora: LoraConfig | None) -> FineTuneConfig:
    """Return a run of one GPU's preset: all but adapters or the language model frozen in bfloat16."""
    config = tiny.pretrained_config(root, output_dir, llama)
    loop = dataclasses.replace(config.align.loop, precision="bf16", frozen_weights="bf16")
    return dataclasses.replace(
        config,
        align=dataclasses.replace(config.align, loop=loop),
        instruct=dataclasses.replace(config.instruct, loop=loop, lora=lora),
    )


@pytest.mark.parametrize("lora", [None, LoraConfig(rank=4, alpha=8, dropout=0.1)], ids=["full", "lora"])
def test_killed_and_continued_is_bit_identical(
    root: Path, tmp_path: Path, llama: Path, monkeypatch: pytest.MonkeyPatch, lora: LoraConfig | None
) -> None:
    """Weights come from the published file at first, later from a checkpoint's, in the types of either."""
    undisturbed = load_file(phases.fine_tune(lean(root, tmp_path / "a", llama, lora)) / "model.safetensors")
    config = lean(root, tmp_path / "b", llama, lora)
    # In alignment before there is a checkpoint, between the phases' checkpoints, and behind the second phase's.
    for num_losses in (1, 2, 3):
        tiny.kill_after(monkeypatch, num_losses, lambda: phases.fine_tune(config))
    continued = load_file(phases.fine_tune(config) / "model.safetensors")
    assert undisturbed.keys() == continued.keys()
    assert all(torch.equal(undisturbed[name], continued[name]) for name in undisturbed)
