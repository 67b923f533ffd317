"""What a text-to-image run can be told."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from dit_train.objective_config import NoiseConfig, ObjectiveConfig
from dit_train.plan_config import PlanConfig
from dit_train.preview_config import PreviewConfig
from dit_train.sizes import SIZES, SizeName
from imagetext.mix import CaptionMixConfig
from imagetext.mix_check import check_mix
from imagetext.stream import DataConfig
from runtime.errors import UserError
from runtime.loop_config import LoopConfig


@dataclass(frozen=True, kw_only=True)
class DitTrainConfig:
    """Train a text-to-image diffusion transformer on images and mixed captions."""

    output_dir: Path
    """Run folder; the trained pipeline ends in its export/."""
    data: DataConfig
    """Shards, and the sidecars that hold further captions."""
    text_encoder: Path
    """Folder of a transformers CLIP or T5 model with its tokenizer; frozen, the same for all arms of a comparison."""
    loop: LoopConfig
    """How long, how fast and in what precision to train; loop.ema_decay is required, since the average is published."""
    mix: CaptionMixConfig = field(default_factory=CaptionMixConfig)
    """Which of an image's captions it is trained with, and how often."""
    model: SizeName = "b"
    """Size of the transformer: DiT's by their names (the paper trains B/4 and L/2), b and l their miniatures."""
    form: Literal["adaln_zero", "adaln_single"] = "adaln_zero"
    """adaln_zero: each block has a layer for its shifts, scales and gates, as in DiT. adaln_single: all share one, as
    in PixArt, which saves a quarter of the weights.
    """
    qk_norm: bool = False
    """Normalise queries and keys of both attentions."""
    image_size_px: int = 48
    """Side of the square images that are drawn."""
    vae: Path | None = None
    """Folder of a diffusers AutoencoderKL, whose latents are then drawn; null draws pixels."""
    latents: Path | None = None
    """Folder that `python -m dit_train.encode` wrote with that autoencoder; required with `vae`."""
    flip: bool = False
    """Mirror half of the images, as DiT does; wrong where captions say left and right."""
    caption_dropout: float = 0.1
    """Share of samples trained with the empty prompt, which classifier-free guidance needs."""
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    """What is predicted."""
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    """Noise levels."""
    head_layers: int = 1
    """Linear layers between the last block and the pixels; 1 is DiT's."""
    text_window_tokens: int = 1
    """Neighbouring tokens of the encoded caption that are averaged into one before cross-attention reads them."""
    text_summary: bool = False
    """Add the average of the caption's tokens to the time embedding."""
    zero_init_text_out: bool = True
    """Start with cross-attention switched off, as PixArt does; off binds text to objects earlier."""
    text_starts_averaged: bool = False
    """Start with cross-attention adding a share of the average token, in place of random projections."""
    text_embeddings: bool = False
    """Read the text encoder's token embeddings in place of its last hidden state."""
    predicts_image: bool = False
    """Let the last layer give the image, from which the velocity follows (arXiv 2511.13720), and not the velocity."""
    previews: PreviewConfig = field(default_factory=PreviewConfig)
    """Pictures drawn on the way."""
    plan: PlanConfig = field(default_factory=PlanConfig)
    """What --plan reckons with."""
    seed: int = 0
    """Seed of everything random: initial weights, order, captions, noise."""

    def __post_init__(self) -> None:
        check_mix(self.mix, self.data)
        if self.mix.also:
            raise UserError("an image is drawn from one caption", where="mix.also", found=self.mix.also, wanted="none")
        self._check_latents()
        patch_size = SIZES[self.model].patch_size
        if self.image_size_px <= 0 or self.image_size_px % patch_size:
            wanted = f"a positive multiple of the model's patch size, {patch_size}"
            raise UserError(
                "image does not divide into patches", where="image_size_px", found=self.image_size_px, wanted=wanted
            )
        if not 0 <= self.caption_dropout < 1:
            found = self.caption_dropout
            raise UserError("no such share", where="caption_dropout", found=found, wanted="a share in [0, 1)")
        if self.text_starts_averaged and self.zero_init_text_out:
            fix = "Set zero_init_text_out to false."
            raise UserError(
                "two ways to start", where="text_starts_averaged", found=True, wanted="one of them", fix=fix
            )
        self._check_objective()
        if self.previews.every_updates is not None and self.loop.sharding != "none":
            wanted = "null, or loop.sharding none"
            found = self.previews.every_updates
            raise UserError("sheets need whole weights", where="previews.every_updates", found=found, wanted=wanted)
        for name in ("head_layers", "text_window_tokens"):
            if getattr(self, name) < 1:
                raise UserError("out of range", where=name, found=getattr(self, name), wanted="1 or more")
        if self.loop.ema_decay is None:
            fix = "Set it, 0.999 for example: the averaged weights are what is published."
            raise UserError("no moving average", where="loop.ema_decay", found=None, wanted="a decay", fix=fix)

    def _check_latents(self) -> None:
        """Refuse an autoencoder without latents, latents without their autoencoder, and latents of several sets."""
        if (self.vae is None) != (self.latents is None):
            name, other = ("latents", "vae") if self.latents is None else ("vae", "latents")
            fix = "Encode the shards with `python -m dit_train.encode`, and give both"
            raise UserError(
                "half of what latents need", where=name, found=None, wanted=f"a folder, as {other}", fix=fix
            )
        if self.latents is not None and self.data.further:
            raise UserError(
                "latents are of one data set", where="data.further", found=len(self.data.further), wanted="none"
            )

    def _check_objective(self) -> None:
        """Refuse fields that the path from image to noise knows nothing of."""
        if self.objective.path == "flow":
            return
        wanted = "false, or objective.path flow"
        if self.predicts_image:
            raise UserError("a velocity of the straight path", where="predicts_image", found=True, wanted=wanted)
        plain = NoiseConfig(draws_per_image=self.noise.draws_per_image)
        if self.noise != plain:
            found = f"logit_std {self.noise.logit_std}, shift {self.noise.shift}"
            wanted = "the defaults, or objective.path flow"
            raise UserError("the steps of path ddpm are drawn evenly", where="noise", found=found, wanted=wanted)
