"""LoRA: what moves, that merging changes nothing the model says, and that a kill changes nothing at all."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import LlavaForConditionalGeneration

from llava_train import phases
from llava_train.config import FineTuneConfig, LoraConfig
from llava_train.lora import add_adapters, merge_adapters
from runtime.errors import UserError
from tests.llava_train import tiny

LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
RANK = 4


@pytest.fixture
def llava(export: Path) -> LlavaForConditionalGeneration:
    return LlavaForConditionalGeneration.from_pretrained(export).eval()


def with_lora(root: Path, output_dir: Path, **changes: object) -> FineTuneConfig:
    config = tiny.config(root, output_dir)
    lora = LoraConfig(rank=RANK, alpha=8, dropout=0.1)
    instruct = dataclasses.replace(config.instruct, lora=lora, projector_learning_rate_multiplier=0.1, **changes)
    return dataclasses.replace(config, instruct=instruct)


def logits(llava: LlavaForConditionalGeneration) -> torch.Tensor:
    with torch.inference_mode():
        return llava(input_ids=torch.arange(3, 30)[None]).logits


def stir(llava: LlavaForConditionalGeneration) -> None:
    """Give every adapter a share in the answer, without dropout: as they are made, their second factor is zero."""
    llava.eval()
    for name, parameter in llava.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.5, generator=torch.Generator().manual_seed(len(name)))


def test_new_adapters_change_nothing_and_stand_on_every_linear_layer(llava: LlavaForConditionalGeneration) -> None:
    before = logits(llava)
    add_adapters(llava, LoraConfig(rank=RANK), seed=0)
    torch.testing.assert_close(logits(llava), before, rtol=0, atol=0)
    trained = [name for name, parameter in llava.model.language_model.named_parameters() if parameter.requires_grad]
    layers = len(llava.model.language_model.layers)
    wanted = {f"layers.{i}.{block}.{name}" for i in range(layers) for block, name in blocks()}
    assert {name.rsplit(".lora_", 1)[0] for name in trained} == wanted
    assert len(trained) == 2 * len(wanted)


def blocks() -> list[tuple[str, str]]:
    return [("self_attn" if name[0] in "qkvo" and name[1] == "_" else "mlp", name) for name in LINEAR]


def test_dropout_is_on_until_evaluation(llava: LlavaForConditionalGeneration) -> None:
    add_adapters(llava, LoraConfig(rank=RANK, dropout=0.5), seed=0)
    stir(llava)
    assert torch.equal(logits(llava), logits(llava))
    llava.train()
    assert not torch.equal(logits(llava), logits(llava))


def test_merged_model_says_the_same_under_its_old_names(llava: LlavaForConditionalGeneration) -> None:
    names, before = list(llava.state_dict()), logits(llava)
    adapters = add_adapters(llava, LoraConfig(rank=RANK, alpha=8), seed=0)
    stir(llava)
    adapted = logits(llava)
    assert not torch.allclose(adapted, before, atol=0.1)
    merge_adapters(adapters)
    assert list(llava.state_dict()) == names
    torch.testing.assert_close(logits(llava), adapted, rtol=1e-4, atol=1e-4)


def test_merging_adds_the_scaled_product_in_float32_to_bfloat16_weights(llava: LlavaForConditionalGeneration) -> None:
    nn.Module.to(llava.model.language_model, torch.bfloat16)
    layer = llava.model.language_model.layers[0].mlp.up_proj
    before = layer.weight.detach().float()
    adapters = add_adapters(llava, LoraConfig(rank=RANK, alpha=12), seed=0)
    stir(llava)
    adapted = llava.model.language_model.layers[0].mlp.up_proj
    first, second = (factor["default"].weight.detach().float() for factor in (adapted.lora_A, adapted.lora_B))
    merge_adapters(adapters)
    merged = llava.model.language_model.layers[0].mlp.up_proj.weight
    assert merged.dtype == torch.float32
    torch.testing.assert_close(merged, before + 12 / RANK * second @ first, rtol=1e-5, atol=1e-5)


def test_adapters_are_a_function_of_their_seed(export: Path) -> None:
    def weights(seed: int) -> list[torch.Tensor]:
        llava = LlavaForConditionalGeneration.from_pretrained(export)
        add_adapters(llava, LoraConfig(rank=RANK), seed=seed)
        return [parameter for name, parameter in llava.named_parameters() if "lora_A" in name]

    assert all(torch.equal(one, other) for one, other in zip(weights(1), weights(1)))
    assert not torch.equal(weights(1)[0], weights(2)[0])


def test_phase_moves_projector_and_linear_layers_by_little_rank(root: Path, tmp_path: Path) -> None:
    run = phases.fine_tune(with_lora(root, tmp_path / "run")).parent
    before, after = (load_file(run / "phases" / name / phases.WEIGHTS) for name in ("align", "instruct"))
    moved = {name for name in after if not torch.equal(before[name], after[name])}
    assert before.keys() == after.keys()
    language = {name for name in moved if "language_model" in name}
    assert {name.split(".")[-2] for name in language} == set(LINEAR)
    assert {name.split(".")[1] for name in moved - language} == {"multi_modal_projector"}
    for name in language:
        assert torch.linalg.matrix_rank(after[name] - before[name], rtol=1e-4) <= RANK


def test_projector_learns_at_its_own_rate(root: Path, tmp_path: Path) -> None:
    """With one update of AdamW each weight moves by the learning rate, whatever its gradient."""
    config = tiny.config(root, tmp_path / "run", num_updates=1)
    align = dataclasses.replace(config.align, projector_learning_rate_multiplier=0.1)
    config = dataclasses.replace(config, phases=["language", "align"], align=align)
    run = phases.fine_tune(config).parent
    before, after = (load_file(run / "phases" / name / phases.WEIGHTS) for name in ("language", "align"))
    steps = torch.cat(
        [(after[name] - before[name]).abs().flatten() for name in after if "multi_modal_projector" in name]
    )
    torch.testing.assert_close(steps.max().item(), 0.1 * config.align.loop.learning_rate, rtol=1e-3, atol=0)


@pytest.mark.parametrize("stop_after", [7, 8, 10], ids=lambda number: f"killed-after-{number}-updates")
def test_killed_and_continued_is_bit_identical(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_after: int
) -> None:
    undisturbed = load_file(phases.fine_tune(with_lora(root, tmp_path / "a")) / "model.safetensors")
    config = with_lora(root, tmp_path / "b")
    tiny.kill_after(monkeypatch, stop_after, lambda: phases.fine_tune(config))
    continued = load_file(phases.fine_tune(config) / "model.safetensors")
    assert undisturbed.keys() == continued.keys()
    assert all(torch.equal(undisturbed[name], continued[name]) for name in undisturbed)


def test_adapters_are_in_the_checkpoints_and_not_in_what_is_published(root: Path, tmp_path: Path) -> None:
    run = phases.fine_tune(with_lora(root, tmp_path / "run")).parent
    checkpoint = next((run / "phases" / "instruct" / "checkpoints").glob("step-*")) / "model.safetensors"
    assert any("lora_A" in name for name in load_file(checkpoint))
    assert not any("lora" in name or "base_layer" in name for name in load_file(run / "export" / "model.safetensors"))
    assert "lora" not in json.loads((run / "export" / "config.json").read_text())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rank": 0}, r"lora\.rank: out of range: found 0, wanted >= 1"),
        ({"alpha": 0}, r"lora\.alpha: out of range: found 0, wanted >= 1"),
        ({"dropout": 1.0}, r"lora\.dropout: out of range: found 1\.0, wanted \[0, 1\)"),
    ],
)
def test_wrong_shapes_are_refused(change: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        LoraConfig(**change)


def test_adapters_on_a_frozen_language_model_are_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"trainable: adapters on a frozen part: .* wanted language_model among them"):
        with_lora(root, tmp_path, trainable=["projector"])
