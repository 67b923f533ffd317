"""What the training loop is given: a batch's loss, with all noise drawn from the generator handed in."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from dit_train.autoencoder import draw_latents
from dit_train.condition import TextCondition
from dit_train.latent_contract import LatentContract
from dit_train.objectives import Objective
from dit_train.text_encoder import FrozenTextEncoder
from imagetext.loader import ImageTextBatch
from runtime.task import LossSum

LEVEL_BANDS = 4
"""Equal parts of the noise levels whose losses are logged apart."""


@dataclass(frozen=True)
class Draws:
    """Everything random about a batch's loss."""

    noise: Float[Tensor, "draw channel height width"]
    levels: Float[Tensor, " draw"]
    drops: Bool[Tensor, " image"]
    posterior: Float[Tensor, "image channel height width"] | None = None
    """Noise of the latents themselves, where pictures are the moments of a posterior."""


class DiffusionTask:
    """Denoising of images, given captions encoded by a frozen text encoder."""

    def __init__(
        self,
        text_encoder: FrozenTextEncoder,
        *,
        caption_dropout: float,
        objective: Objective,
        draws_per_image: int,
        sources: Sequence[str],
        contract: LatentContract | None = None,
    ) -> None:
        """`sources` are the caption sources whose losses are logged apart; pictures under a `contract` are latents'
        moments, else bytes.
        """
        self._contract = contract
        self._text_encoder = text_encoder
        self._caption_dropout = caption_dropout
        self._objective = objective
        self._draws_per_image = draws_per_image
        self._sources = tuple(sources)
        self._empty_ids, self._empty_length = text_encoder.empty_prompt()

    def count(self, batch: ImageTextBatch) -> int:
        """Return the number of images."""
        return len(batch.keys)

    def loss(self, model: nn.Module, batch: ImageTextBatch, step: int, generator: torch.Generator) -> LossSum:
        """Return the summed loss of the objective. A batch that lost all its samples costs nothing."""
        if not batch.keys:
            nothing = torch.stack([parameter.sum() for parameter in model.parameters()]).sum() * 0
            none = nothing.detach().new_zeros(0)
            return self._summed(nothing, none, batch, Draws(none[:, None, None, None], none, none.bool()))
        copies = self._draws_per_image
        draws = self.draw(batch.images.shape, generator)
        x = self._clean(batch.images, draws).repeat(copies, 1, 1, 1)
        condition = self._encode(batch, draws.drops)
        losses = self._objective.loss(model, x, draws.noise.to(x.device), draws.levels.to(x.device), condition)
        return self._summed(losses.sum() / copies, losses.detach(), batch, draws)

    def draw(self, shape: torch.Size, generator: torch.Generator) -> Draws:
        """Draw noise, levels and dropped captions, in this order, for images of a shape.

        Noise and levels come for all images once, then for all of them again, `draws_per_image` times. Of latents'
        moments, which are twice as many as latents, the posterior's noise is drawn last, once an image.
        """
        num_draws = shape[0] * self._draws_per_image
        picture = shape[1:] if self._contract is None else (shape[1] // 2, *shape[2:])
        noise = torch.randn((num_draws, *picture), generator=generator, device=generator.device)
        levels = self._objective.draw_levels(generator, num_draws)
        lots = torch.rand(shape[0], generator=generator, device=generator.device)
        posterior = None
        if self._contract is not None:
            posterior = torch.randn((shape[0], *picture), generator=generator, device=generator.device)
        return Draws(noise, levels, lots < self._caption_dropout, posterior)

    def _clean(self, pictures: Tensor, draws: Draws) -> Float[Tensor, "image channel height width"]:
        """Return what is to be denoised: images in [-1, 1], or a draw from the latents' posterior."""
        if self._contract is None or draws.posterior is None:
            return to_unit_range(pictures)
        return draw_latents(
            pictures,
            draws.posterior.to(pictures.device),
            scaling_factor=self._contract.scaling_factor,
            shift_factor=self._contract.shift_factor,
        )

    def _encode(self, batch: ImageTextBatch, drops: Bool[Tensor, " batch"]) -> TextCondition:
        """Encode the captions, the empty prompt in place of dropped ones."""
        drops = drops.to(batch.token_ids.device)
        token_ids = torch.where(drops[:, None], self._empty_ids.to(drops.device), batch.token_ids)
        lengths = torch.where(drops, self._empty_length, batch.token_lengths)
        return self._text_encoder.encode(token_ids, lengths)

    def _summed(self, total: Tensor, losses: Float[Tensor, " draw"], batch: ImageTextBatch, draws: Draws) -> LossSum:
        """Return the loss with each part's share of the draws, its mean loss, and the share of captions cut off.

        Parts are the caption sources (dropped captions count as `empty`) and the bands of noise levels.
        """
        copies = self._draws_per_image
        drops, levels = draws.drops.repeat(copies).to(losses.device), draws.levels.to(losses.device)
        of_source = {
            name: torch.tensor([source == name for source in batch.sources], dtype=torch.bool, device=losses.device)
            for name in self._sources
        }
        parts = {"source/empty": drops}
        parts |= {f"source/{name}": ~drops & chosen.repeat(copies) for name, chosen in of_source.items()}
        bands = (levels * LEVEL_BANDS).long().clamp(max=LEVEL_BANDS - 1)
        parts |= {f"level/{band}_of_{LEVEL_BANDS}": bands == band for band in range(LEVEL_BANDS)}
        counts = {name: chosen.float().sum() for name, chosen in parts.items()}
        shares = {f"loss/{name}": ((losses * chosen).sum(), counts[name]) for name, chosen in parts.items()}
        truncated = batch.truncated.to(losses.device)
        for name, chosen in of_source.items():
            shares[f"truncated/{name}"] = ((truncated & chosen).float().sum(), chosen.float().sum())
        metrics = {f"share/{name}": count / copies for name, count in counts.items()}
        return LossSum(total=total, metrics=metrics, shares=shares)


def to_unit_range(images: Tensor) -> Float[Tensor, "batch channel height width"]:
    """Turn bytes into floats in [-1, 1]."""
    return images.float() / 127.5 - 1
