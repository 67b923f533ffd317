"""Denoising diffusion against known answers, and diffusers' schedulers against the schedule of training."""

import itertools
import math

import pytest
import torch
from diffusers import DDPMScheduler

from dit_train import ddpm
from dit_train.condition import TextCondition
from dit_train.diffusion_solvers import build_scheduler, denoise
from dit_train.objective_config import NoiseConfig, ObjectiveConfig
from dit_train.objectives import DdpmObjective, build_objective
from dit_train.sampling_config import DiffusionSolverName
from runtime.errors import UserError

SOLVERS: list[DiffusionSolverName] = ["ddpm", "ddim", "dpm_solver"]
CONDITION = TextCondition(hidden=torch.zeros(2, 1, 4), mask=torch.ones(2, 1, dtype=torch.bool))
MEAN, DEVIATION = 0.7, 0.3
LAST = ddpm.NUM_TIMESTEPS - 1


def trained(prediction: ddpm.PredictionName = "epsilon", learned_sigma: bool = False) -> DDPMScheduler:
    return DdpmObjective(prediction=prediction, learned_sigma=learned_sigma).scheduler()


def images(seed: int = 0, count: int = 4) -> torch.Tensor:
    return torch.randn(count, 3, 4, 4, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_solver_samples_on_the_schedule_of_training(solver: DiffusionSolverName) -> None:
    scheduler = build_scheduler(trained(), solver, 50)
    torch.testing.assert_close(scheduler.alphas_cumprod.double(), ddpm.signal_powers(), rtol=1e-4, atol=1e-9)
    steps = torch.as_tensor(scheduler.timesteps)
    assert steps[0] == LAST
    assert len(steps.unique()) == 50
    x, noise, timestep = images(0), images(1), steps[[0, 7, 30, 49]].long()
    noisy = scheduler.add_noise(x, noise, timestep)
    torch.testing.assert_close(noisy, ddpm.diffuse(x, noise, timestep), rtol=1e-3, atol=2e-3)


def test_250_steps_are_spread_as_dit_respaces_them() -> None:
    steps = build_scheduler(trained(), "ddpm", 250).timesteps.flip(0)
    assert steps.tolist() == [round(index * LAST / 249) for index in range(250)]


@pytest.mark.parametrize("name", ["epsilon", "velocity"])
def test_a_perfect_prediction_costs_nothing_and_gives_the_image(name: ddpm.PredictionName) -> None:
    x, noise, timestep = images(0), images(1), torch.tensor([0, 10, 500, 900])
    z = ddpm.diffuse(x, noise, timestep)
    perfect = noise if name == "epsilon" else ddpm.velocity(x, noise, timestep)
    assert ddpm.simple_loss(perfect, x, noise, timestep, name).tolist() == [0.0] * 4
    # At step 900 only 1 % of the image's amplitude is left in z.
    torch.testing.assert_close(ddpm.image_of(perfect, z, timestep, name), x, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(ddpm.simple_loss(perfect + 0.5, x, noise, timestep, name), torch.full((4,), 0.25))


def test_diffusers_takes_the_same_step_from_the_same_prediction() -> None:
    """One step of diffusers' sampler without its noise is our posterior's mean, with it our variances."""
    x, noise = images(0, 1), images(1, 1)
    for name, step in itertools.product(("epsilon", "velocity"), (999, 500, 1)):
        timestep = torch.tensor([step])
        z = ddpm.diffuse(x, noise, timestep)
        perfect = noise if name == "epsilon" else ddpm.velocity(x, noise, timestep)
        scheduler = trained(name, learned_sigma=True)  # type: ignore[arg-type]
        output = torch.full_like(x, 0.3)
        generator = torch.Generator().manual_seed(3)
        after = scheduler.step(torch.cat([perfect, output], 1), step, z, generator=generator).prev_sample
        drawn = torch.randn(x.shape, generator=torch.Generator().manual_seed(3))
        deviation = (0.5 * ddpm.learned_log_variance(output, timestep)).exp()
        expected = ddpm.posterior(x, z, timestep).mean + deviation * drawn
        torch.testing.assert_close(after, expected, rtol=2e-3, atol=2e-3)


def test_the_bound_is_zero_for_the_true_posterior_and_grows_with_a_wrong_variance() -> None:
    x, noise, timestep = images(0), images(1), torch.tensor([1, 10, 500, 900])
    z = ddpm.diffuse(x, noise, timestep)

    def bound(output: float) -> torch.Tensor:
        return ddpm.bound_loss(noise, torch.full_like(x, output), x, z, timestep, "epsilon")

    assert bound(-1.0).abs().max() < 1e-5  # -1 asks for the posterior's own variance
    assert (bound(1.0)[:1] > 0.01).all()
    assert (bound(0.5) >= bound(-0.5)).all()


def test_divergence_and_likelihood_have_their_known_values() -> None:
    one = torch.ones(1)
    p, q = ddpm.Gaussian(0 * one, 0 * one), ddpm.Gaussian(2 * one, math.log(4) * one)
    assert ddpm.gaussian_divergence(p, q).item() == pytest.approx(math.log(2) + (1 + 4) / 8 - 0.5)
    bytes_ = (torch.arange(256) / 127.5 - 1)[:, None, None, None]
    wide = ddpm.Gaussian(torch.zeros_like(bytes_), torch.full_like(bytes_, math.log(0.25)))
    # The bins cover the line: masses of all bytes add up to one.
    assert ddpm.byte_log_likelihood(bytes_, wide).exp().sum().item() == pytest.approx(1, abs=1e-4)


def test_the_variance_is_trained_by_the_bound_and_the_mean_by_the_simple_loss() -> None:
    objective = build_objective(ObjectiveConfig(path="ddpm", prediction="epsilon", learned_sigma=True), NoiseConfig())
    assert objective.outputs_per_channel == 2
    x, noise, level = images(0, 2), images(1, 2), torch.tensor([0.001, 0.5])
    output = torch.cat([images(2, 2), images(3, 2) / 3], 1).requires_grad_()
    seen = {}

    def model(z, timestep, *text, return_dict):
        seen.update(timestep=timestep)
        return (output,)

    loss = objective.loss(model, x, noise, level, CONDITION)
    assert seen["timestep"].tolist() == [1.0, 500.0]
    loss.sum().backward()
    assert output.grad is not None
    simple = 2 * (output - noise.repeat(1, 2, 1, 1))[:, :3].detach() / x[0].numel()
    torch.testing.assert_close(output.grad[:, :3], simple)
    assert output.grad[:, 3:].abs().max() > 0


def test_steps_are_drawn_evenly() -> None:
    objective = build_objective(ObjectiveConfig(path="ddpm"), NoiseConfig())
    levels = objective.draw_levels(torch.Generator().manual_seed(0), 100_000)
    steps = (levels * 1000).round().long()
    assert (steps.min(), steps.max()) == (0, LAST)
    # Four standard errors of a share of a tenth.
    assert (torch.histc(steps.float(), 10, 0, 1000) / 100_000 - 0.1).abs().max() < 0.004


def gaussian_epsilon(z: torch.Tensor, timestep: float) -> torch.Tensor:
    """Return E[noise | z] for images drawn from N(MEAN, DEVIATION^2)."""
    power = float(ddpm.signal_powers()[round(timestep)])
    variance = power * DEVIATION**2 + 1 - power
    return math.sqrt(1 - power) * (z - math.sqrt(power) * MEAN) / variance


def carried(z: torch.Tensor) -> torch.Tensor:
    """Return where the exact flow without noise takes z from the noisiest step: it keeps quantiles."""
    power = float(ddpm.signal_powers()[LAST])
    return MEAN + DEVIATION * (z - math.sqrt(power) * MEAN) / math.sqrt(power * DEVIATION**2 + 1 - power)


@pytest.mark.parametrize(("solver", "order"), [("ddim", 1), ("dpm_solver", 2)])
def test_the_error_falls_with_the_order_of_the_solver(solver: DiffusionSolverName, order: int) -> None:
    z = torch.linspace(-2, 2, 9, dtype=torch.float64).view(1, 1, 1, 9)
    errors = []
    for num_steps in (25, 50, 100):
        found = denoise(gaussian_epsilon, z, build_scheduler(trained(), solver, num_steps), [])
        errors.append(float((found - carried(z)).abs().max()))
    slopes = [math.log2(coarse / fine) for coarse, fine in itertools.pairwise(errors)]
    # dpm_solver's falls faster: its last step, to the image itself, shrinks more than the others.
    assert min(slopes) > order - 0.1


@pytest.mark.parametrize("learned_sigma", [False, True])
def test_250_noisy_steps_draw_the_distribution(learned_sigma: bool) -> None:
    def predict(z: torch.Tensor, timestep: float) -> torch.Tensor:
        epsilon = gaussian_epsilon(z, timestep)
        return torch.cat([epsilon, torch.zeros_like(epsilon)], 1) if learned_sigma else epsilon

    generators = [torch.Generator().manual_seed(seed) for seed in range(2)]
    z = torch.randn(2, 1, 100, 100, generator=torch.Generator().manual_seed(9))
    scheduler = build_scheduler(trained(learned_sigma=learned_sigma), "ddpm", 250)
    drawn = denoise(predict, z, scheduler, generators)
    assert drawn.mean() == pytest.approx(MEAN, abs=0.01)
    assert drawn.std() == pytest.approx(DEVIATION, abs=0.01)


def test_an_images_noise_does_not_depend_on_its_batch() -> None:
    z = torch.randn(3, 1, 4, 4, generator=torch.Generator().manual_seed(9))

    def draw(chosen: list[int]) -> torch.Tensor:
        generators = [torch.Generator().manual_seed(number) for number in chosen]
        return denoise(gaussian_epsilon, z[chosen], build_scheduler(trained(), "ddpm", 5), generators)

    assert torch.equal(draw([0, 1, 2])[1:], draw([1, 2]))
    assert torch.equal(draw([0, 1, 2])[2:], draw([2]))


def test_steps_that_cannot_be_spread_are_refused() -> None:
    with pytest.raises(UserError, match="num_steps: found 30, wanted a divisor of 1000 for solver ddim"):
        build_scheduler(trained(), "ddim", 30)
    with pytest.raises(UserError, match="num_steps: found 1001, wanted at most 1000"):
        build_scheduler(trained(), "ddpm", 1001)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prediction": "epsilon"}, "no such prediction on this path.*found epsilon, wanted velocity, or path ddpm"),
        ({"learned_sigma": True}, "no variance on this path"),
    ],
)
def test_a_flow_has_a_velocity_alone(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ObjectiveConfig(**settings)  # type: ignore[arg-type]
