"""Denoising diffusion on the linear schedule: its losses, as equations.

Timesteps are 0 (nearly the image) to 999 (nearly noise). With a_t the product of 1 - beta up to t, the noisy image is
z_t = sqrt(a_t) x + sqrt(1 - a_t) e (Ho et al., arXiv 2006.11239, equation 4). Everything is float32.
"""

import math
from functools import cache
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

NUM_TIMESTEPS = 1000
BETA_START, BETA_END = 1e-4, 0.02  # arXiv 2006.11239, section 4
DECODED_BINS_PER_UNIT = 127.5  # likelihood of the least noisy step: bytes mapped to [-1, 1], as there in section 3.3

Images = Float[Tensor, "batch channel height width"]
Timesteps = Int64[Tensor, " batch"]
PredictionName = Literal["velocity", "epsilon"]


class Gaussian(NamedTuple):
    """A normal distribution of each pixel."""

    mean: Tensor
    log_variance: Tensor


@cache
def linear_betas() -> Float64[Tensor, " timestep"]:
    """Return the variance that each step adds: linear in its number (arXiv 2006.11239, section 4)."""
    return torch.linspace(BETA_START, BETA_END, NUM_TIMESTEPS, dtype=torch.float64, device="cpu")


@cache
def signal_powers() -> Float64[Tensor, " timestep"]:
    """Return a_t, the share of the image's power that is left at each step (arXiv 2006.11239, above equation 4)."""
    return (1 - linear_betas()).cumprod(0)


def diffuse(x: Images, noise: Images, timestep: Timesteps) -> Images:
    """Return z_t = sqrt(a_t) x + sqrt(1 - a_t) e (arXiv 2006.11239, equation 4)."""
    power = _at(signal_powers(), timestep)
    return power.sqrt() * x + (1 - power).sqrt() * noise


def velocity(x: Images, noise: Images, timestep: Timesteps) -> Images:
    """Return v = sqrt(a_t) e - sqrt(1 - a_t) x (Salimans and Ho, arXiv 2202.00512, section 4)."""
    power = _at(signal_powers(), timestep)
    return power.sqrt() * noise - (1 - power).sqrt() * x


def image_of(prediction: Images, z: Images, timestep: Timesteps, name: PredictionName) -> Images:
    """Return the image that a prediction implies.

    (z - sqrt(1 - a_t) e) / sqrt(a_t) of the noise (arXiv 2006.11239, below equation 15), sqrt(a_t) z - sqrt(1 - a_t) v
    of the velocity (arXiv 2202.00512, section 4).
    """
    power = _at(signal_powers(), timestep)
    if name == "epsilon":
        return (z - (1 - power).sqrt() * prediction) / power.sqrt()
    return power.sqrt() * z - (1 - power).sqrt() * prediction


def posterior(x: Images, z: Images, timestep: Timesteps) -> Gaussian:
    """Return q(z_{t-1} | z_t, x) (arXiv 2006.11239, equations 6 and 7).

    Its variance is 0 at t = 0; the logarithm there is that of t = 1 (arXiv 2102.09672, code).
    """
    betas, powers = linear_betas(), signal_powers()
    before = torch.cat([powers.new_ones(1), powers[:-1]])
    of_image = before.sqrt() * betas / (1 - powers)
    of_noisy = (1 - betas).sqrt() * (1 - before) / (1 - powers)
    mean = _at(of_image, timestep) * x + _at(of_noisy, timestep) * z
    return Gaussian(mean, _at(_posterior_log_variances(), timestep).expand_as(z))


def learned_log_variance(output: Images, timestep: Timesteps) -> Images:
    """Return v log(beta_t) + (1 - v) log(posterior variance) (Nichol and Dhariwal, arXiv 2102.09672, equation 15).

    `output` in [-1, 1] stands for v in [0, 1].
    """
    share = (output + 1) / 2
    largest, smallest = _at(linear_betas().log(), timestep), _at(_posterior_log_variances(), timestep)
    return share * largest + (1 - share) * smallest


def simple_loss(prediction: Images, x: Images, noise: Images, timestep: Timesteps, name: PredictionName) -> Tensor:
    """Return the squared error of noise or velocity per image, averaged over pixels (arXiv 2006.11239, equation 14)."""
    target = noise if name == "epsilon" else velocity(x, noise, timestep)
    return (prediction.float() - target).square().mean(dim=(1, 2, 3))


def bound_loss(
    prediction: Images, variance_output: Images, x: Images, z: Images, timestep: Timesteps, name: PredictionName
) -> Float[Tensor, " batch"]:
    """Return a step's term of the variational bound in bits per pixel, which trains the variance alone.

    The divergence of q(z_{t-1} | z_t, x) from the model's, at t = 0 the image's negative log-likelihood (arXiv
    2006.11239, equation 5); the mean is taken as given (arXiv 2102.09672, section 3.1). Added to `simple_loss` as it
    is: their weight of 0.001 stands before a sum over 1000 steps, of which this is one.
    """
    truth = posterior(x, z, timestep)
    implied = image_of(prediction.detach().float(), z, timestep, name)
    guess = Gaussian(posterior(implied, z, timestep).mean, learned_log_variance(variance_output.float(), timestep))
    divergence = gaussian_divergence(truth, guess)
    likelihood = -byte_log_likelihood(x, guess)
    is_last = (timestep == 0)[:, None, None, None]
    return torch.where(is_last, likelihood, divergence).mean(dim=(1, 2, 3)) / math.log(2)


def gaussian_divergence(p: Gaussian, q: Gaussian) -> Tensor:
    """Return KL(p || q) per pixel, in nats."""
    ratio = p.log_variance - q.log_variance
    return 0.5 * (-1 - ratio + ratio.exp() + (p.mean - q.mean).square() * (-q.log_variance).exp())


def byte_log_likelihood(x: Images, distribution: Gaussian) -> Tensor:
    """Return the logarithm of a normal distribution's mass on each pixel's byte (arXiv 2006.11239, equation 13)."""
    deviation = (-0.5 * distribution.log_variance).exp()
    half_bin = 0.5 / DECODED_BINS_PER_UNIT
    centred = x - distribution.mean
    upper = torch.special.ndtr((centred + half_bin) * deviation)
    lower = torch.special.ndtr((centred - half_bin) * deviation)
    # The outermost bytes own the tails.
    mass = torch.where(x < -0.999, upper, torch.where(x > 0.999, 1 - lower, upper - lower))
    return mass.clamp(min=1e-12).log()


@cache
def _posterior_log_variances() -> Float64[Tensor, " timestep"]:
    betas, powers = linear_betas(), signal_powers()
    variances = betas[1:] * (1 - powers[:-1]) / (1 - powers[1:])
    return torch.cat([variances[:1], variances]).log()


def _at(values: Tensor, timestep: Timesteps) -> Tensor:
    """Return a schedule's values at each image's timestep, float32, to be broadcast over its pixels."""
    return values.to(timestep.device)[timestep].float()[:, None, None, None]
