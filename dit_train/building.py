"""The parts of a run, each a function of its config: frozen encoders, transformer, loss, batches."""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from dit_train.autoencoder import Autoencoder
from dit_train.config import DitTrainConfig
from dit_train.latent_contract import LatentContract, contract_of
from dit_train.latent_pictures import LatentPictures
from dit_train.objectives import Objective, build_objective
from dit_train.sizes import SIZES
from dit_train.task import DiffusionTask
from dit_train.text_encoder import FrozenTextEncoder
from dit_train.transformer import TextDiT
from imagetext.loader import MixedLoader, Transform
from imagetext.mix import ORIGINAL
from imagetext.tokenizers import hf_tokenizer
from imagetext.transforms import center_crop_flip
from runtime.device import attention_implementation, pick_device
from runtime.errors import UserError
from runtime.seeds import derive

COLOUR_CHANNELS = 3


@dataclass(frozen=True, kw_only=True)
class Frozen:
    """What a run reads and never trains."""

    text_encoder: FrozenTextEncoder
    objective: Objective
    autoencoder: Autoencoder | None = None
    contract: LatentContract | None = None
    """What the stored latents must be; with an autoencoder."""

    @property
    def in_channels(self) -> int:
        """Channels of what is denoised."""
        return COLOUR_CHANNELS if self.contract is None else self.contract.latent_channels


def open_frozen(config: DitTrainConfig) -> Frozen:
    """Load the encoders that a config names; raise UserError when one is none, or the latent has no whole patches."""
    device = pick_device(config.loop.device)
    text_encoder = FrozenTextEncoder(config.text_encoder, device, embeddings_alone=config.text_embeddings)
    objective = build_objective(config.objective, config.noise)
    if config.vae is None:
        return Frozen(text_encoder=text_encoder, objective=objective)
    autoencoder = Autoencoder(config.vae, device)
    contract = contract_of(autoencoder, config.vae, config.image_size_px)
    patch_size = SIZES[config.model].patch_size
    if contract.cells % patch_size:
        wanted = f"a multiple of {patch_size * contract.pixels_per_cell}: cells of a patch times pixels of a cell"
        raise UserError(
            "latent does not divide into patches", where="image_size_px", found=config.image_size_px, wanted=wanted
        )
    return Frozen(text_encoder=text_encoder, objective=objective, autoencoder=autoencoder, contract=contract)


def build_transformer(config: DitTrainConfig, frozen: Frozen) -> TextDiT:
    """Return the transformer with its initial weights, a pure function of the config."""
    size = SIZES[config.model]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(config.seed, "transformer"))
        model = TextDiT(
            sample_size=config.image_size_px if frozen.contract is None else frozen.contract.cells,
            in_channels=frozen.in_channels,
            out_channels=frozen.in_channels * frozen.objective.outputs_per_channel,
            patch_size=size.patch_size,
            width=size.width,
            depth=size.depth,
            num_heads=size.num_heads,
            text_width=frozen.text_encoder.width,
            text_window=config.text_window_tokens,
            text_summary=config.text_summary,
            head_layers=config.head_layers,
            zero_init_text_out=config.zero_init_text_out,
            predicts_image=config.predicts_image,
            text_embeddings=config.text_embeddings,
            text_starts_averaged=config.text_starts_averaged,
            form=config.form,
            qk_norm=config.qk_norm,
            gelu=size.gelu,
            time_init_std=size.time_init_std,
        )
    model.attention_implementation = attention_implementation(frozen.text_encoder.device)
    return model


def build_task(config: DitTrainConfig, frozen: Frozen) -> DiffusionTask:
    """Return the loss, with one logged part for every caption source the mix can draw."""
    recipes = [name for name in config.mix.others if min(config.mix.shares) < 1]
    return DiffusionTask(
        frozen.text_encoder,
        caption_dropout=config.caption_dropout,
        objective=frozen.objective,
        draws_per_image=config.noise.draws_per_image,
        sources=[ORIGINAL, *recipes],
        contract=frozen.contract,
    )


def build_source(config: DitTrainConfig, frozen: Frozen) -> MixedLoader:
    """Return the run's batches: centre crops, or their stored latents, with chosen captions."""
    return MixedLoader(
        data=config.data,
        mix=config.mix,
        pictures=_pictures(config, frozen),
        tokenizer=hf_tokenizer(config.text_encoder, frozen.text_encoder.context_length),
        seed=config.seed,
        batch_size=config.loop.batch_size,
        microbatch_size=config.loop.microbatch_size,
    )


def _pictures(config: DitTrainConfig, frozen: Frozen) -> Transform | LatentPictures:
    if config.latents is not None:
        assert frozen.contract is not None, "latents come with their autoencoder"
        return LatentPictures(config.latents, frozen.contract, shards=config.data.shards, flip=config.flip)

    def crop(image: Image.Image, generator: np.random.Generator) -> np.ndarray:
        return center_crop_flip(image, config.image_size_px, generator, config.flip)

    return crop
