"""Train one text-to-image transformer from a config to an exported pipeline."""

import torch
from torch import Tensor, nn

from dit_train.building import Frozen, build_source, build_task, build_transformer, open_frozen
from dit_train.config import DitTrainConfig
from dit_train.cost import BACKWARD_COST
from dit_train.export import export_pipeline
from dit_train.previews import Previews
from dit_train.transformer import TIME_SCALE
from runtime.flops import FlopLedger
from runtime.launch import is_main_process
from runtime.loop import fit
from runtime.run import Run


def train(config: DitTrainConfig) -> None:
    """Train what the config describes; continues a run that was stopped, leaves a finished one alone."""
    run = Run.open(config.output_dir, config)
    if run.finished():
        return
    frozen = open_frozen(config)
    source = build_source(config, frozen)
    model = build_transformer(config, frozen)
    result = fit(
        task=build_task(config, frozen),
        model=model,
        source=source,
        config=config.loop,
        run=run,
        seed=config.seed,
        flops_per_sample=training_flops(config, frozen),
        on_update=Previews(
            config=config.previews,
            frozen=frozen,
            folder=config.output_dir,
            num_updates=config.loop.num_updates,
            seed=config.seed,
        ),
    )
    # Each rank has counted what it served itself.
    source.load_state_dict(result.engine.gather_objects(source.state_dict()))
    audit = source.audit()
    weights = result.averaged_weights()
    if is_main_process():
        averaged = build_transformer(config, frozen)
        averaged.load_state_dict(weights)
        facts = {"seed": config.seed, "original_share": config.mix.original_share, "audit": audit}
        export_pipeline(
            run.export,
            averaged,
            frozen.text_encoder,
            scheduler=frozen.objective.scheduler(),
            facts=facts,
            autoencoder=frozen.autoencoder,
        )
    run.finish(num_updates=result.num_updates, metrics=result.metrics, audit=audit)


def training_flops(config: DitTrainConfig, frozen: Frozen) -> float:
    """Return the floating-point operations one sample costs in training, at the longest caption.

    Transformer forward and backward, and the frozen text encoder's forward pass; a multiply-add counts as two.
    """
    encoder = frozen.text_encoder
    ids = torch.zeros(1, encoder.context_length, dtype=torch.int64)
    lengths = torch.tensor([encoder.context_length])
    text = FlopLedger()
    condition = text.measure(lambda: encoder.encode(ids, lengths))
    model = build_transformer(config, frozen)
    nn.Module.to(model, encoder.device)
    draws = config.noise.draws_per_image
    image = torch.zeros(draws, frozen.in_channels, model.sample_size, model.sample_size, device=encoder.device)
    timestep = torch.full((draws,), TIME_SCALE, device=encoder.device)
    forward = FlopLedger()

    def draw() -> tuple[Tensor]:
        return model(image, timestep, condition.hidden, condition.mask, return_dict=False)

    with torch.no_grad():
        forward.measure(draw)
    return float((1 + BACKWARD_COST) * forward.total + text.total)
