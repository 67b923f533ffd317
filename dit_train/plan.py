"""What a run will cost: parameters, encoding, updates, FLOPs, hours and memory, reckoned without data or weights."""

from dataclasses import dataclass

import torch

from dit_train.config import DitTrainConfig
from dit_train.cost import BACKWARD_COST, FLOPS_PER_MAC, Geometry, forward_macs
from dit_train.objectives import build_objective
from dit_train.sizes import SIZES
from dit_train.transformer import TextDiT
from runtime.errors import UserError
from runtime.hardware import ACCELERATORS
from runtime.tables import markdown_table

VAE_PIXELS_PER_CELL, VAE_CHANNELS = 8, 4
VAE_ENCODE_MACS_PER_PIXEL = 136.4e9 / 256**2
"""Stable Diffusion's autoencoder, counted at 256 px; its work grows with the picture's area."""
BYTES_PER_WEIGHT = 4 + 4 + 8 + 4 + 2
"""Float32 weight, its gradient, AdamW's two moments, the average, and the bfloat16 copy that a pass computes with."""
BYTES_PER_NUMBER = 2
_PROBED_SAMPLES = 2
_GIB, _GIGA, _EXA, _TERA = 2**30, 1e9, 1e18, 1e12
_SECONDS_PER_HOUR = 3600


@dataclass(frozen=True, kw_only=True)
class Work:
    """Floating-point operations of one sample's training step, and what they come to."""

    transformer: float
    """Forward and backward."""
    text: float
    """The frozen text encoder's forward pass, live in every step."""
    num_samples: int
    hours: float
    """On all of the plan's devices at its MFU."""

    @property
    def total(self) -> float:
        """Return one sample's operations."""
        return self.transformer + self.text


def geometry_of(config: DitTrainConfig) -> Geometry:
    """Return the shape a run computes in: latents of Stable Diffusion's autoencoder, or pixels without one."""
    is_latent = config.vae is not None
    channels = VAE_CHANNELS if is_latent else 3
    grid = config.image_size_px // VAE_PIXELS_PER_CELL if is_latent else config.image_size_px
    patch = SIZES[config.model].patch_size
    if grid % patch:
        cell = VAE_PIXELS_PER_CELL if is_latent else 1
        raise UserError(
            "does not divide into patches",
            where="image_size_px",
            found=config.image_size_px,
            wanted=f"a multiple of {patch * cell}",
        )
    objective = build_objective(config.objective, config.noise)
    return Geometry(
        grid_size=grid,
        in_channels=channels,
        out_channels=channels * objective.outputs_per_channel,
        text_tokens=config.plan.text_tokens,
        text_width=config.plan.text_width,
        form=config.form,
    )


def reckon(config: DitTrainConfig) -> Work:
    """Return what a run's training steps cost."""
    plan, loop = config.plan, config.loop
    unit = plan.num_gpus * (loop.microbatch_size or 1)
    if loop.batch_size % unit:
        wanted = f"a multiple of {unit} (the plan's {plan.num_gpus} GPUs x microbatches of {loop.microbatch_size or 1})"
        raise UserError("does not divide over the GPUs", where="batch_size", found=loop.batch_size, wanted=wanted)
    macs = forward_macs(SIZES[config.model], geometry_of(config)).total * config.noise.draws_per_image
    tokens, width = plan.text_tokens, plan.text_width
    text = 0 if config.text_embeddings else plan.text_layers * (12 * tokens * width**2 + 2 * tokens**2 * width)
    transformer = float(FLOPS_PER_MAC * (1 + BACKWARD_COST) * macs)
    num_samples = loop.num_updates * loop.batch_size
    flops = num_samples * (transformer + FLOPS_PER_MAC * text)
    return Work(
        transformer=transformer,
        text=float(FLOPS_PER_MAC * text),
        num_samples=num_samples,
        hours=flops / _speed(config) / _SECONDS_PER_HOUR,
    )


def describe(config: DitTrainConfig) -> str:
    """Return the whole plan as Markdown."""
    sections = [_parameters_section(config), _encoding_section(config), _work_section(config), _memory_section(config)]
    return "\n".join(section for section in sections if section)


def saved_bytes(model: TextDiT, geometry: Geometry) -> float:
    """Return what autograd keeps of one sample's forward pass, two bytes a number, weights left out.

    `model` is on meta, where autocast does not reach: numbers are counted, and each taken for a bfloat16.
    """
    weights = {id(weight) for weight in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        base = tensor if tensor._base is None else tensor._base
        if id(base) not in weights:
            kept[id(base)] = base
        return tensor

    with torch.device("meta"):
        shape = (_PROBED_SAMPLES, geometry.in_channels, geometry.grid_size, geometry.grid_size)
        image, timestep = torch.empty(shape), torch.empty(_PROBED_SAMPLES)
        text = torch.empty(_PROBED_SAMPLES, geometry.text_tokens, geometry.text_width)
        mask = torch.ones(_PROBED_SAMPLES, geometry.text_tokens, dtype=torch.bool)
    model.attention_implementation = "sdpa"
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        # The output is held until here, as its graph is.
        output = model(image, timestep, text, mask).sample
        del output
    return sum(tensor.numel() for tensor in kept.values()) * BYTES_PER_NUMBER / _PROBED_SAMPLES


def _speed(config: DitTrainConfig) -> float:
    plan = config.plan
    return plan.num_gpus * plan.mfu * ACCELERATORS[plan.gpu].bf16_flops_per_second


def _model(config: DitTrainConfig) -> TextDiT:
    size, geometry = SIZES[config.model], geometry_of(config)
    with torch.device("meta"):
        return TextDiT(
            sample_size=geometry.grid_size,
            in_channels=geometry.in_channels,
            out_channels=geometry.out_channels,
            patch_size=size.patch_size,
            width=size.width,
            depth=size.depth,
            num_heads=size.num_heads,
            text_width=geometry.text_width,
            text_window=config.text_window_tokens,
            text_summary=config.text_summary,
            head_layers=config.head_layers,
            form=config.form,
            qk_norm=config.qk_norm,
            gelu=size.gelu,
        )


def _parameters_section(config: DitTrainConfig) -> str:
    named = list(_model(config).named_parameters())
    text = sum(weight.numel() for name, weight in named if "text_" in name)
    total = sum(weight.numel() for _, weight in named)
    rows = [
        ["image", f"{total - text:,}"],
        ["text: cross-attention and projection", f"{text:,}"],
        ["in all", f"{total:,}"],
    ]
    return f"## Parameters of {config.model}, {config.form}\n\n" + markdown_table(["part", "parameters"], rows)


def _encoding_section(config: DitTrainConfig) -> str:
    if config.vae is None:
        return ""
    plan, geometry = config.plan, geometry_of(config)
    copies = 2 if config.flip else 1
    flops = FLOPS_PER_MAC * VAE_ENCODE_MACS_PER_PIXEL * config.image_size_px**2 * copies
    num_bytes = BYTES_PER_NUMBER * 2 * geometry.in_channels * geometry.grid_size**2 * copies
    hours = plan.num_images * flops / _speed(config) / _SECONDS_PER_HOUR
    row = [
        f"{plan.num_images:,}", "yes" if config.flip else "no", f"{flops / _GIGA:.1f}", f"{hours:,.1f}",
        f"{num_bytes / 1024:.0f}", f"{plan.num_images * num_bytes / _TERA:.2f}",
    ]  # fmt: skip
    headers = ["images", "mirrored too", "GFLOP an image", "hours", "KiB an image", "TB in all"]
    return "\n## Encoding, once for all runs\n\n" + markdown_table(headers, [row])


def _work_section(config: DitTrainConfig) -> str:
    plan, loop, work = config.plan, config.loop, reckon(config)
    row = [
        f"{loop.num_updates:,}", f"{loop.batch_size:,}", f"{work.num_samples:,}",
        f"{work.transformer / _GIGA:.1f}", f"{work.text / _GIGA:.1f}", f"{work.num_samples * work.total / _EXA:,.1f}",
        f"{work.num_samples / work.hours / _SECONDS_PER_HOUR / plan.num_gpus:,.0f}",
        f"{work.hours:,.1f}", f"{work.hours * plan.num_gpus:,.0f}",
    ]  # fmt: skip
    headers = [
        "updates", "batch", "samples", "transformer GFLOP", "text GFLOP", "EFLOP", "samples/s a GPU", "hours",
        "device hours",
    ]  # fmt: skip
    return (
        f"\n## Training\n\nOn {plan.num_gpus} {plan.gpu} at {plan.mfu:.0%} of their peak. GFLOP are of one sample, a "
        "multiply-add counted as two, forward and backward for the transformer.\n\n" + markdown_table(headers, [row])
    )


def _memory_section(config: DitTrainConfig) -> str:
    plan, loop = config.plan, config.loop
    model = _model(config)
    weights = sum(weight.numel() for weight in model.parameters()) * BYTES_PER_WEIGHT
    microbatch = loop.microbatch_size or loop.batch_size // plan.num_gpus
    activations = saved_bytes(model, geometry_of(config)) * microbatch * config.noise.draws_per_image
    share = (weights + activations) / ACCELERATORS[plan.gpu].memory_bytes
    row = [
        f"{microbatch:,}",
        *(f"{part / _GIB:.1f}" for part in (weights, activations, weights + activations)),
        f"{share:.0%}",
    ]
    headers = ["microbatch", "weights", "activations", "in all", f"of {plan.gpu}"]
    return (
        "\n## Memory\n\nGiB on each device, weights whole on each with AdamW and the average; activations are what "
        "autograd keeps of one microbatch in bf16. Keep a tenth of the device free.\n\n"
        + markdown_table(headers, [row])
    )
