"""The frozen autoencoder between pixels and latents: a diffusers `AutoencoderKL`."""

from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from runtime.pretrained import load_pretrained

Images = Float[Tensor, "batch 3 height width"]
Moments = Float[Tensor, "batch moment row column"]
Latents = Float[Tensor, "batch channel row column"]


class Autoencoder:
    """Images in [-1, 1] to the moments of their latents' posterior, and scaled latents to images; never trained."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        """Load from a folder of diffusers' `AutoencoderKL`; raise UserError when it is none."""
        from diffusers import AutoencoderKL

        # Any: to type checkers diffusers' models are stand-ins without methods.
        self.model = cast(Any, load_pretrained(AutoencoderKL, folder, model_types=["AutoencoderKL"]))
        self.model.requires_grad_(False).eval()
        nn.Module.to(self.model, device)
        config = self.model.config
        self.scaling_factor = float(config.scaling_factor)
        self.shift_factor = float(config.shift_factor or 0.0)
        self.latent_channels = int(config.latent_channels)
        self.pixels_per_cell = 2 ** (len(config.block_out_channels) - 1)

    @torch.no_grad()
    def encode(self, images: Images) -> Moments:
        """Return means and log-variances of the posterior, one after the other along the channels, unscaled."""
        parameters: Tensor = self.model.encode(images).latent_dist.parameters
        return parameters

    @torch.no_grad()
    def decode(self, latents: Latents) -> Images:
        """Return the images of scaled latents."""
        images: Tensor = self.model.decode(latents / self.scaling_factor + self.shift_factor, return_dict=False)[0]
        return images


def draw_latents(moments: Moments, noise: Latents, *, scaling_factor: float, shift_factor: float) -> Latents:
    """Return (mean + deviation * noise - shift) * scale: a draw from the posterior, as the transformer knows latents.

    Log-variances are held in [-30, 20], as diffusers' `DiagonalGaussianDistribution` holds them. Float32.
    """
    mean, log_variance = moments.float().chunk(2, dim=1)
    deviation = (0.5 * log_variance.clamp(-30.0, 20.0)).exp()
    return (mean + deviation * noise - shift_factor) * scaling_factor
