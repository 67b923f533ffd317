"""In what type weights are kept, who may share them, and what is refused before anything is computed."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from runtime.engine import Engine
from runtime.errors import UserError
from runtime.storage import leave_files, set_storage_types
from runtime.training import Training
from tests.runtime.sharded_jobs import BlockModel, JobSource, train_blocks
from tests.runtime.toys import TASKS, ToyModel, ToySource, loop_config

WHOLE = {"ema_decay": None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"sharding": "zero2"},
            "ema_decay: DeepSpeed hides the weights that an average is kept of: found 0.9, wanted nu",
        ),
        (
            {**WHOLE, "deepspeed_config": Path("a.json")},
            "deepspeed_config: nobody would read it: found a.json, wanted null under sharding none, or zero2 or zero3",
        ),
        (
            {**WHOLE, "sharding": "fsdp2", "deepspeed_config": Path("a.json")},
            "deepspeed_config: nobody would read it: found a.json, wanted null under sharding fsdp2, or zero2 or zero3",
        ),
        (
            {"frozen_weights": "bf16"},
            "frozen_weights: frozen weights of a lower precision than the others: found bf16, wanted fp32, as precisio",
        ),
        (
            {**WHOLE, "sharding": "zero3", "precision": "bf16"},
            "frozen_weights: DeepSpeed can't keep them so: found fp32, wanted bf16: under DeepSpeed all weights that c",
        ),
    ],
)
def test_fields_that_contradict_each_other_are_refused(changes, message):
    with pytest.raises(UserError) as refusal:
        loop_config(**changes)
    assert str(refusal.value).startswith(message)


def test_sharding_without_a_launcher_is_refused(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(UserError, match=r"sharding: no launcher started this process: found zero3. Start it as `torch"):
        Engine(TASKS["token"](), BlockModel(), loop_config(**WHOLE, sharding="zero3"))


def test_a_loss_that_couples_samples_is_not_left_to_deepspeed(monkeypatch):
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(UserError, match=r"sharding: this loss couples samples.*: found zero3, wanted none or fsdp2"):
        Engine(TASKS["contrastive"](), ToyModel(), loop_config(**WHOLE, sharding="zero3"))


def test_frozen_matrices_are_halved_and_trained_weights_come_back_to_float32():
    model = BlockModel()
    norm = model.blocks[1].norm.weight.detach().clone()
    model.blocks[0].up.bfloat16()
    set_storage_types(model, "bf16")
    lean = {name for name, p in model.named_parameters() if p.dtype == torch.bfloat16}
    assert lean == {"blocks.1.up.weight", "blocks.1.down.weight"}
    assert torch.equal(model.blocks[1].norm.weight, norm)
    set_storage_types(model, "fp32")
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def map_weights(model, file):
    """Save a model's weights and let it use them where they lie in the file."""
    save_file({name: parameter.detach() for name, parameter in model.named_parameters()}, file)
    mapped = load_file(file)
    for name, parameter in model.named_parameters():
        parameter.data = mapped[name]


def test_weights_leave_the_file_they_lie_in(tmp_path):
    """As they must before a CPU computes with them: sums differ with the address."""
    model = BlockModel()
    wanted = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    map_weights(model, tmp_path / "weights.safetensors")
    in_file = {parameter.data_ptr() for parameter in model.parameters()}
    leave_files(model)
    for name, parameter in model.named_parameters():
        assert parameter.data_ptr() not in in_file and parameter.data_ptr() % 64 == 0
        assert torch.equal(parameter, wanted[name])


def test_a_cpu_trains_no_weights_in_a_file(tmp_path):
    model = BlockModel()
    map_weights(model, tmp_path / "weights.safetensors")
    in_file = {parameter.data_ptr() for parameter in model.parameters()}
    Engine(TASKS["token"](), model, loop_config(**WHOLE))
    assert in_file.isdisjoint(parameter.data_ptr() for parameter in model.parameters())


def test_lean_frozen_weights_train_nearly_alike(tmp_path):
    losses = []
    for frozen in ("fp32", "bf16"):
        result = train_blocks(tmp_path / frozen, JobSource(), precision="bf16", frozen_weights=frozen)
        losses.append(result.metrics["loss"])
        stored = load_file(tmp_path / frozen / "checkpoints" / "step-0000012" / "model.safetensors")
        assert stored["blocks.1.up.weight"].dtype == {"fp32": torch.float32, "bf16": torch.bfloat16}[frozen]
    # Autocast rounds the same weights to the same values in every pass.
    assert losses[0] == losses[1]


def test_continued_with_lean_frozen_weights_is_bit_identical(tmp_path):
    from tests.runtime.test_resume import Killed

    changes = {"precision": "bf16", "frozen_weights": "bf16", "checkpoint_every_updates": 5}
    train_blocks(tmp_path / "whole", JobSource(), **changes)
    with pytest.raises(Killed):
        train_blocks(tmp_path / "broken", JobSource(kill_at_update=7), **changes)
    train_blocks(tmp_path / "broken", JobSource(), **changes)
    assert (tmp_path / "whole" / "metrics.jsonl").read_bytes() == (tmp_path / "broken" / "metrics.jsonl").read_bytes()


def test_weights_are_saved_whole_or_in_part(tmp_path):
    result = train_blocks(tmp_path / "run", JobSource(), num_updates=3)
    result.save_weights(tmp_path / "all.safetensors")
    result.save_weights(tmp_path / "part.safetensors", part="blocks.2")
    named = dict(result.model.state_dict())
    torch.testing.assert_close(load_file(tmp_path / "all.safetensors"), named, rtol=0, atol=0)
    part = {name.removeprefix("blocks.2."): t for name, t in named.items() if name.startswith("blocks.2.")}
    assert len(part) == 6
    torch.testing.assert_close(load_file(tmp_path / "part.safetensors"), part, rtol=0, atol=0)


def test_the_learning_rate_reaches_the_groups_before_the_step():
    training = Training(TASKS["token"](), ToyModel(), loop_config(), 7, {"logit_scale": 0.0, "head.": 0.5})
    training.update(0, next(ToySource(8, None).updates(0, rank=0, world_size=1)))
    rates = {group["multiplier"]: group["lr"] for group in training.engine.optimizer.param_groups}
    assert rates == {1.0: training.learning_rate(0), 0.5: 0.5 * training.learning_rate(0)}
