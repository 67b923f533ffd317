import itertools
import math

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from hypothesis import given
from hypothesis import strategies as st

from dit_train.condition import TextCondition
from dit_train.flow import (
    draw_levels,
    guided,
    interpolate,
    level_schedule,
    shift_levels,
    solve,
    velocity_loss,
)
from dit_train.sampling_config import FlowSolverName

CONDITION = TextCondition(hidden=torch.zeros(2, 1, 4), mask=torch.ones(2, 1, dtype=torch.bool))


def constant_model(value: torch.Tensor):
    def model(hidden_states, timestep, hidden, mask, *, return_dict):
        return (value.expand_as(hidden_states),)

    return model


def test_a_perfect_velocity_has_no_loss_and_a_blind_one_the_data_plus_noise_power() -> None:
    x, noise, level = torch.full((2, 3, 4, 4), 0.5), torch.full((2, 3, 4, 4), -1.0), torch.tensor([0.2, 0.9])
    assert velocity_loss(constant_model(torch.tensor(-1.5)), x, noise, level, CONDITION).tolist() == [0.0, 0.0]
    assert velocity_loss(constant_model(torch.tensor(0.0)), x, noise, level, CONDITION).tolist() == [2.25, 2.25]
    assert velocity_loss(constant_model(torch.tensor(0.5)), x, noise, level, CONDITION).tolist() == [4.0, 4.0]


def test_the_model_sees_the_noisy_image_and_its_timestep() -> None:
    seen = {}

    def model(hidden_states, timestep, *text, return_dict):
        seen.update(image=hidden_states, timestep=timestep)
        return (torch.zeros_like(hidden_states),)

    x, noise = torch.full((2, 3, 4, 4), 1.0), torch.full((2, 3, 4, 4), -1.0)
    velocity_loss(model, x, noise, torch.tensor([0.25, 1.0]), CONDITION)
    assert seen["timestep"].tolist() == [250.0, 1000.0]
    assert seen["image"][0].unique().tolist() == [0.5]
    assert seen["image"][1].unique().tolist() == [-1.0]


def test_the_path_runs_from_image_to_noise() -> None:
    x, noise = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    assert torch.equal(interpolate(x, noise, torch.zeros(2)), x)
    assert torch.equal(interpolate(x, noise, torch.ones(2)), noise)


@given(st.floats(0.2, 5.0), st.integers(1, 40))
def test_the_schedule_equals_the_scheduler_handed_even_sigmas(shift: float, num_steps: int) -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(sigmas=np.linspace(1, 1 / num_steps, num_steps))
    torch.testing.assert_close(level_schedule(num_steps, shift), scheduler.sigmas, rtol=1e-5, atol=1e-6)


def test_a_scheduler_left_to_itself_shifts_twice() -> None:
    """The trap this project avoids; should diffusers mend it, `level_schedule`'s docstring can be shortened."""
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(20)
    assert scheduler.sigmas[-2] == pytest.approx(0.009, abs=5e-4)
    assert shift_levels(torch.tensor(0.001), 3.0) == pytest.approx(0.003, abs=1e-5)


@pytest.mark.parametrize("shift", [0.5, 1.0, 3.0])
def test_training_levels_are_shifted_once_like_the_schedule(shift: float) -> None:
    levels = draw_levels(torch.Generator().manual_seed(0), 200_000, 1.0, shift)
    # The median of a logit-normal around one half is one half; shifting keeps order, so it moves the median.
    assert levels.median() == pytest.approx(float(level_schedule(2, shift)[1]), abs=0.005)
    assert 0 < levels.min() < levels.max() < 1
    spread = torch.logit(levels.double()).std()
    assert spread == pytest.approx(1.0, abs=0.01)


def test_guidance_interpolates_and_extrapolates() -> None:
    conditional, unconditional = torch.tensor([2.0]), torch.tensor([1.0])
    assert guided(conditional, unconditional, 1.0).item() == 2.0
    assert guided(conditional, unconditional, 0.0).item() == 1.0
    assert guided(conditional, unconditional, 3.0).item() == 4.0


MEAN, DEVIATION = 0.7, 0.3


def gaussian_velocity(z: torch.Tensor, level: float) -> torch.Tensor:
    """Return E[noise - x | z] for images drawn from N(MEAN, DEVIATION^2)."""
    variance = ((1 - level) * DEVIATION) ** 2 + level**2
    surprise = (z - (1 - level) * MEAN) / variance
    return level * surprise - (MEAN + (1 - level) * DEVIATION**2 * surprise)


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("heun", 2)])
def test_the_error_falls_with_the_order_of_the_solver(solver: FlowSolverName, order: int) -> None:
    """For one Gaussian the flow is known: it keeps quantiles, so noise e ends at MEAN + DEVIATION e."""
    noise = torch.linspace(-2, 2, 9, dtype=torch.float64)
    steps = [64, 128, 256]
    errors = [
        float(
            (solve(gaussian_velocity, noise, level_schedule(n, 1.0).double(), solver) - (MEAN + DEVIATION * noise))
            .abs()
            .max()
        )
        for n in steps
    ]
    slopes = [math.log2(coarse / fine) for coarse, fine in itertools.pairwise(errors)]
    assert slopes == pytest.approx([order] * 2, abs=0.15)
