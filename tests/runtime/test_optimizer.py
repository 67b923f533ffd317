"""Schedules, parameter groups and EMA against their equations."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from runtime.ema import Ema
from runtime.errors import UserError
from runtime.optimizer import build_optimizer, set_learning_rate
from runtime.schedules import constant, cosine_with_warmup
from tests.runtime.toys import ToyModel, loop_config


def test_schedules_at_known_points():
    assert [constant(step, 10, 4) for step in (0, 3, 4, 9)] == [0.25, 1.0, 1.0, 1.0]
    assert [cosine_with_warmup(step, 12, 2) for step in (0, 1, 2)] == [0.5, 1.0, 1.0]
    assert cosine_with_warmup(7, 12, 2) == pytest.approx(0.5)
    assert cosine_with_warmup(12, 12, 2) == 0.0
    assert constant(0, 5) == cosine_with_warmup(0, 5) == 1.0


@given(st.integers(1, 500), st.data())
def test_cosine_rises_then_falls_and_never_leaves_zero_to_one(num_updates, data):
    warmup = data.draw(st.integers(0, num_updates))
    values = [cosine_with_warmup(step, num_updates, warmup) for step in range(num_updates)]
    assert all(0 < value <= 1 for value in values)
    rising, falling = values[:warmup], values[warmup:]
    assert rising == sorted(rising) and falling == sorted(falling, reverse=True)


def test_parameter_groups_follow_names_and_axes():
    model = ToyModel()
    multipliers = {"body.": 0.1, "body.3": 0.5, "logit_scale": 0.0}
    optimizer = build_optimizer(model, loop_config(), multipliers)
    names = {id(p): name for name, p in model.named_parameters()}
    found = {g["name"]: ([names[id(p)] for p in g["params"]], g["weight_decay"]) for g in optimizer.param_groups}
    assert found == {
        "decay x0.1": (["body.0.weight"], 0.1),
        "no_decay x0.1": (["body.0.bias"], 0.0),
        "no_decay x0.5": (["body.3.weight", "body.3.bias"], 0.0),
        "decay x1": (["head.weight"], 0.1),
        "no_decay x1": (["head.bias"], 0.0),
    }
    assert not model.logit_scale.requires_grad
    set_learning_rate(optimizer, 2.0)
    assert [group["lr"] for group in optimizer.param_groups] == [0.2, 0.2, 1.0, 2.0, 2.0]


def test_a_prefix_that_matches_nothing_and_a_frozen_model_are_refused():
    with pytest.raises(UserError, match="multipliers: no parameter starts with this prefix: found vision"):
        build_optimizer(ToyModel(), loop_config(), {"vision": 0.1})
    with pytest.raises(UserError, match="nothing is left to train: every parameter is frozen"):
        build_optimizer(ToyModel(), loop_config(), {"": 0.0})


def test_ema_follows_its_equation_in_float32():
    model = ToyModel().bfloat16()
    model.logit_scale.requires_grad_(False)
    ema = Ema(model, 0.75)
    wanted = {name: p.detach().float().clone() for name, p in model.named_parameters() if p.requires_grad}
    for step in range(3):
        for p in model.parameters():
            p.data += 0.1 * (step + 1)
        ema.update()
        for name, p in model.named_parameters():
            if name in wanted:
                wanted[name] = 0.75 * wanted[name] + 0.25 * p.detach().float()
    torch.testing.assert_close(ema.state_dict(), wanted, rtol=1e-6, atol=1e-7)
    assert "logit_scale" not in ema.state_dict()
    other, scale = ToyModel(), 5.0
    other.logit_scale.data.fill_(scale)
    ema.copy_to(other)
    assert torch.equal(other.head.weight, ema.state_dict()["head.weight"]) and other.logit_scale == scale
    with pytest.raises(ValueError, match="EMA of other parameters"):
        ema.load_state_dict({"head.weight": torch.zeros(6, 16)})
