"""Train one text-to-image transformer from a config to an exported pipeline."""

import copy

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from dit_train.config import DitTrainConfig
from dit_train.export import export_pipeline
from dit_train.objectives import build_objective
from dit_train.sizes import SIZES
from dit_train.task import DiffusionTask
from dit_train.text_encoder import FrozenTextEncoder
from dit_train.transformer import TIME_SCALE, TextDiT
from imagetext.loader import MixedLoader
from imagetext.mix import ORIGINAL
from imagetext.tokenizers import hf_tokenizer
from imagetext.transforms import center_crop_flip
from runtime.device import attention_implementation, pick_device
from runtime.flops import FlopLedger
from runtime.launch import is_main_process
from runtime.loop import fit
from runtime.run import Run
from runtime.seeds import derive

COLOUR_CHANNELS = 3
BACKWARD_COST = 2
"""A backward pass costs two forward passes: one product for the inputs' gradient, one for the weights'."""


def train(config: DitTrainConfig) -> None:
    """Train what the config describes; continues a run that was stopped, leaves a finished one alone."""
    run = Run.open(config.output_dir, config)
    if run.finished():
        return
    encoder = FrozenTextEncoder(
        config.text_encoder, pick_device(config.loop.device), embeddings_alone=config.text_embeddings
    )
    source = build_source(config, encoder)
    model = build_transformer(config, encoder)
    result = fit(
        task=build_task(config, encoder),
        model=model,
        source=source,
        config=config.loop,
        run=run,
        seed=config.seed,
        flops_per_sample=training_flops(config, encoder),
    )
    assert result.ema is not None
    # Each rank has counted what it served itself.
    source.load_state_dict(result.engine.gather_objects(source.state_dict()))
    audit = source.audit()
    if is_main_process():
        averaged = copy.deepcopy(model)
        result.ema.copy_to(averaged)
        facts = {"seed": config.seed, "original_share": config.mix.original_share, "audit": audit}
        scheduler = build_objective(config.objective, config.noise).scheduler()
        export_pipeline(run.export, averaged, encoder, scheduler=scheduler, facts=facts)
    run.finish(num_updates=result.num_updates, metrics=result.metrics, audit=audit)


def build_transformer(config: DitTrainConfig, encoder: FrozenTextEncoder) -> TextDiT:
    """Return the transformer with its initial weights, a pure function of the config."""
    size = SIZES[config.model]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(config.seed, "transformer"))
        model = TextDiT(
            sample_size=config.image_size_px,
            in_channels=COLOUR_CHANNELS,
            out_channels=COLOUR_CHANNELS * build_objective(config.objective, config.noise).outputs_per_channel,
            patch_size=size.patch_size,
            width=size.width,
            depth=size.depth,
            num_heads=size.num_heads,
            text_width=encoder.width,
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
    model.attention_implementation = attention_implementation(encoder.device)
    return model


def build_task(config: DitTrainConfig, encoder: FrozenTextEncoder) -> DiffusionTask:
    """Return the loss, with one logged part for every caption source the mix can draw."""
    recipes = [name for name in config.mix.others if min(config.mix.shares) < 1]
    return DiffusionTask(
        encoder,
        caption_dropout=config.caption_dropout,
        objective=build_objective(config.objective, config.noise),
        draws_per_image=config.noise.draws_per_image,
        sources=[ORIGINAL, *recipes],
    )


def build_source(config: DitTrainConfig, encoder: FrozenTextEncoder) -> MixedLoader:
    """Return the run's batches: centre crops with chosen captions."""

    def crop(image: Image.Image, generator: np.random.Generator) -> np.ndarray:
        return center_crop_flip(image, config.image_size_px, generator, config.flip)

    return MixedLoader(
        data=config.data,
        mix=config.mix,
        transform=crop,
        tokenizer=hf_tokenizer(config.text_encoder, encoder.context_length),
        seed=config.seed,
        batch_size=config.loop.batch_size,
        microbatch_size=config.loop.microbatch_size,
    )


def training_flops(config: DitTrainConfig, encoder: FrozenTextEncoder) -> float:
    """Return the floating-point operations one sample costs in training, at the longest caption.

    Transformer forward and backward, and the frozen text encoder's forward pass; a multiply-add counts as two.
    """
    ids = torch.zeros(1, encoder.context_length, dtype=torch.int64)
    lengths = torch.tensor([encoder.context_length])
    text = FlopLedger()
    condition = text.measure(lambda: encoder.encode(ids, lengths))
    model = build_transformer(config, encoder)
    nn.Module.to(model, encoder.device)
    draws = config.noise.draws_per_image
    image = torch.zeros(draws, COLOUR_CHANNELS, config.image_size_px, config.image_size_px, device=encoder.device)
    timestep = torch.full((draws,), TIME_SCALE, device=encoder.device)
    forward = FlopLedger()

    def draw() -> tuple[Tensor]:
        return model(image, timestep, condition.hidden, condition.mask, return_dict=False)

    with torch.no_grad():
        forward.measure(draw)
    return float((1 + BACKWARD_COST) * forward.total + text.total)
