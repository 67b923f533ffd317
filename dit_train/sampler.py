"""Draw images from an exported folder: the module other packages use."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import cast, get_args

import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from jaxtyping import Float, UInt8
from torch import Tensor

from dit_train.autoencoder import Autoencoder
from dit_train.diffusion_solvers import build_scheduler, denoise
from dit_train.flow import guided, level_schedule, solve
from dit_train.layers import TextMemory
from dit_train.objectives import Scheduler
from dit_train.sampling_config import DiffusionSolverName, FlowSolverName, SamplingConfig, SolverName
from dit_train.text_encoder import FrozenTextEncoder
from dit_train.transformer import TIME_SCALE, TextDiT
from runtime.device import DeviceName, attention_implementation, pick_device
from runtime.errors import UserError
from runtime.json_files import read_object
from runtime.pretrained import load_pretrained
from runtime.seeds import torch_generator

__all__ = ["Sampler", "SamplingConfig", "load_sampler", "to_pixels"]


class Sampler:
    """A transformer, its text encoder and its noise schedule, ready to draw."""

    def __init__(
        self,
        transformer: TextDiT,
        text_encoder: FrozenTextEncoder,
        *,
        scheduler: Scheduler,
        autoencoder: Autoencoder | None = None,
    ) -> None:
        """Take ownership of the parts; `scheduler` is the one the transformer was trained with.

        With an autoencoder the transformer draws its latents.
        """
        self.transformer = transformer.eval()
        self.transformer.attention_implementation = attention_implementation(text_encoder.device)
        self.text_encoder = text_encoder
        self.scheduler = scheduler
        self.autoencoder = autoencoder
        self._nothing: dict[tuple[str, bool], TextMemory] = {}

    @property
    def image_size_px(self) -> int:
        """Side of the square images."""
        cells = self.transformer.sample_size
        return cells if self.autoencoder is None else cells * self.autoencoder.pixels_per_cell

    @property
    def default_solver(self) -> SolverName:
        """The path's first solver."""
        return self._solvers()[0]

    def generate(
        self, prompts: Sequence[str], prompt_ids: Sequence[str], config: SamplingConfig, *, seed: int
    ) -> UInt8[Tensor, "prompt height width channel"]:
        """Draw one image per prompt; its noise depends on (seed, prompt id) alone, not on its neighbours."""
        return torch.cat(list(self.batches(prompts, prompt_ids, config, seed=seed)))

    def batches(
        self, prompts: Sequence[str], prompt_ids: Sequence[str], config: SamplingConfig, *, seed: int
    ) -> Iterator[UInt8[Tensor, "prompt height width channel"]]:
        """Yield the images of `generate` batch by batch."""
        if len(prompts) != len(prompt_ids) or not prompts:
            found = f"{len(prompts)} prompts, {len(prompt_ids)} ids"
            raise UserError("prompts and prompt ids", found=found, wanted="one id per prompt, at least one prompt")
        for start in range(0, len(prompts), config.batch_size):
            chosen = slice(start, start + config.batch_size)
            generators = [torch_generator(seed, "sample", each) for each in prompt_ids[chosen]]
            yield self.draw(prompts[chosen], generators, config)

    def draw(
        self, prompts: Sequence[str], generators: Sequence[torch.Generator], config: SamplingConfig
    ) -> UInt8[Tensor, "prompt height width channel"]:
        """Draw one image per prompt with a generator of its own."""
        count = len(prompts)
        if config.fixed_shapes:
            missing = config.batch_size - count
            prompts = [*prompts, *[""] * missing]
            generators = [*generators, *(torch_generator("fill", place) for place in range(missing))]
        z = self.denoise(self.draw_noise(generators), prompts, config, generators)
        return to_pixels(z if self.autoencoder is None else self.autoencoder.decode(z))[:count]

    def draw_noise(self, generators: Sequence[torch.Generator]) -> Float[Tensor, "prompt channel height width"]:
        """Return the noise each image starts from, drawn on the CPU so that every device starts from the same."""
        size = self.transformer.sample_size
        noise = [torch.randn((self.transformer.in_channels, size, size), generator=each) for each in generators]
        return torch.stack(noise).to(self.text_encoder.device)

    @torch.no_grad()
    def denoise(
        self,
        noise: Float[Tensor, "prompt channel height width"],
        prompts: Sequence[str],
        config: SamplingConfig,
        generators: Sequence[torch.Generator] = (),
    ) -> Float[Tensor, "prompt channel height width"]:
        """Carry noise to images in [-1, 1], or to latents; each prompt's keys and values are computed once.

        Solver ddpm draws further noise from the generators.
        """
        solver = self._solver(config)
        with self._autocast(config):
            text = self._read(prompts, config)
            nothing = self._read_nothing(config)

            def predict(z: Tensor, timestep: float) -> Tensor:
                times = torch.full((len(z),), timestep, device=z.device)
                conditional = self._predict(z, times, text)
                if nothing is None or not config.guides(timestep / TIME_SCALE):
                    return conditional
                channels = z.shape[1]
                unconditional = self._predict(z, times, nothing)[:, :channels]
                mixed = guided(conditional[:, :channels], unconditional, config.guidance)
                # A learned variance is the conditional model's.
                return torch.cat([mixed, conditional[:, channels:]], dim=1)

            if isinstance(self.scheduler, FlowMatchEulerDiscreteScheduler):
                levels = level_schedule(config.num_steps, float(self.scheduler.shift))
                flow_solver = cast(FlowSolverName, solver)
                return solve(lambda z, level: predict(z, level * TIME_SCALE), noise, levels, flow_solver)
            steps = build_scheduler(
                cast(DDPMScheduler, self.scheduler), cast(DiffusionSolverName, solver), config.num_steps
            )
            return denoise(predict, noise, steps, generators)

    def _solvers(self) -> Sequence[SolverName]:
        is_flow = isinstance(self.scheduler, FlowMatchEulerDiscreteScheduler)
        return get_args(FlowSolverName) if is_flow else get_args(DiffusionSolverName)

    def _solver(self, config: SamplingConfig) -> SolverName:
        solver = config.solver or self.default_solver
        if solver not in self._solvers():
            wanted = f"one of {', '.join(self._solvers())}, for what this transformer was trained on"
            raise UserError("solver", found=solver, wanted=wanted)
        return solver

    def _read_nothing(self, config: SamplingConfig) -> TextMemory | None:
        """Return the empty prompt's keys and values, which are the same for all images; None where none are needed."""
        if config.guidance == 1:
            return None
        way = (config.precision, config.fixed_shapes)
        if way not in self._nothing:
            self._nothing[way] = self._read([""], config)
        return self._nothing[way]

    def _read(self, prompts: Sequence[str], config: SamplingConfig) -> TextMemory:
        condition = self.text_encoder.encode_texts(prompts, padded=config.fixed_shapes)
        return self.transformer.read_text(condition.hidden, condition.mask)

    def _predict(self, z: Tensor, timestep: Tensor, text: TextMemory) -> Tensor:
        (prediction,) = self.transformer(z, timestep, text_memory=text, return_dict=False)
        return prediction

    def _autocast(self, config: SamplingConfig) -> AbstractContextManager[object]:
        if config.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.text_encoder.device.type, torch.bfloat16)


def to_pixels(
    images: Float[Tensor, "prompt channel height width"],
) -> UInt8[Tensor, "prompt height width channel"]:
    """Turn images in [-1, 1] into bytes on the CPU, rounded as diffusers rounds."""
    unit = (images.float() / 2 + 0.5).clamp(0, 1)
    return (unit.permute(0, 2, 3, 1) * 255).round().to("cpu", torch.uint8)


def load_sampler(folder: Path, *, device: DeviceName = "auto") -> Sampler:
    """Load an exported diffusers folder (`R/export`); raise UserError when it is not one of ours."""
    if not (folder / "model_index.json").is_file():
        fix = "Give the `export` folder of a finished dit_train run."
        raise UserError(
            "no exported pipeline here", where=str(folder), wanted="a folder with model_index.json", fix=fix
        )
    chosen = pick_device(device)
    transformer = load_pretrained(TextDiT, folder / "transformer", model_types=[TextDiT.__name__]).to(chosen)
    # The tokenizer has a folder of its own in diffusers' layout.
    encoder = FrozenTextEncoder(
        folder / "text_encoder",
        chosen,
        tokenizer_folder=folder / "tokenizer",
        embeddings_alone=transformer.text_embeddings,
    )
    autoencoder = Autoencoder(folder / "vae", chosen) if (folder / "vae").is_dir() else None
    return Sampler(transformer, encoder, scheduler=_load_scheduler(folder / "scheduler"), autoencoder=autoencoder)


def _load_scheduler(folder: Path) -> Scheduler:
    known = {each.__name__: each for each in (FlowMatchEulerDiscreteScheduler, DDPMScheduler)}
    path = folder / "scheduler_config.json"
    name = str(read_object(path).get("_class_name"))
    if name not in known:
        raise UserError("a schedule of another kind", where=path, found=name, wanted=" or ".join(known))
    scheduler: Scheduler = known[name].from_pretrained(folder)
    return scheduler
