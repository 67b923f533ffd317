"""Draw images from an exported folder: the module other packages use."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from dit_train.flow import SolverName, guided, level_schedule, solve
from dit_train.text_encoder import FrozenTextEncoder
from dit_train.transformer import TIME_SCALE, TextDiT, TextMemory
from runtime.device import DeviceName, attention_implementation, pick_device
from runtime.errors import UserError
from runtime.pretrained import load_pretrained
from runtime.seeds import torch_generator


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """How images are drawn."""

    guidance: float = 3.0
    """Classifier-free guidance; 1 is the conditional model alone, at half the cost."""
    num_steps: int = 10
    """Steps from noise to image."""
    solver: SolverName = "euler"
    """euler: one evaluation a step. heun: two, for an error that falls with the square of the step."""
    batch_size: int = 64
    """Prompts drawn at once."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16 runs the transformer under autocast."""

    def __post_init__(self) -> None:
        if self.guidance < 0:
            raise UserError("guidance", found=self.guidance, wanted="0 or more")
        if self.num_steps < 1:
            raise UserError("num_steps", found=self.num_steps, wanted="1 or more")
        if self.batch_size < 1:
            raise UserError("batch_size", found=self.batch_size, wanted="1 or more")


class Sampler:
    """A transformer, its text encoder and its noise schedule, ready to draw."""

    def __init__(self, transformer: TextDiT, text_encoder: FrozenTextEncoder, *, shift: float) -> None:
        """Take ownership of the parts; `shift` is the one the transformer was trained with."""
        self.transformer = transformer.eval()
        self.transformer.attention_implementation = attention_implementation(text_encoder.device)
        self.text_encoder = text_encoder
        self.shift = shift

    @property
    def image_size_px(self) -> int:
        """Side of the square images."""
        return self.transformer.sample_size

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
            noise = self.draw_noise(prompt_ids[chosen], seed)
            yield to_pixels(self.denoise(noise, prompts[chosen], config))

    def draw_noise(self, prompt_ids: Sequence[str], seed: int) -> Float[Tensor, "prompt channel height width"]:
        """Return the noise each image starts from, drawn on the CPU so that every device starts from the same."""
        shape = (self.transformer.in_channels, self.image_size_px, self.image_size_px)
        noise = [torch.randn(shape, generator=torch_generator(seed, "sample", each)) for each in prompt_ids]
        return torch.stack(noise).to(self.text_encoder.device)

    @torch.no_grad()
    def denoise(
        self, noise: Float[Tensor, "prompt channel height width"], prompts: Sequence[str], config: SamplingConfig
    ) -> Float[Tensor, "prompt channel height width"]:
        """Carry noise to images in [-1, 1] along the guided flow; each prompt's keys and values are computed once."""
        with self._autocast(config):
            text = self._read(prompts)
            nothing = self._read([""]) if config.guidance != 1 else None

            def velocity(z: Tensor, level: float) -> Tensor:
                timestep = torch.full((len(z),), level * TIME_SCALE, device=z.device)
                conditional = self._velocity(z, timestep, text)
                if nothing is None:
                    return conditional
                return guided(conditional, self._velocity(z, timestep, nothing), config.guidance)

            return solve(velocity, noise, level_schedule(config.num_steps, self.shift), config.solver)

    def _read(self, prompts: Sequence[str]) -> TextMemory:
        condition = self.text_encoder.encode_texts(prompts)
        return self.transformer.read_text(condition.hidden, condition.mask)

    def _velocity(self, z: Tensor, timestep: Tensor, text: TextMemory) -> Tensor:
        (velocity,) = self.transformer(z, timestep, text_memory=text, return_dict=False)
        return velocity

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
    from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler

    if not (folder / "model_index.json").is_file():
        fix = "Give the `export` folder of a finished dit_train run."
        raise UserError(
            "no exported pipeline here", where=str(folder), wanted="a folder with model_index.json", fix=fix
        )
    chosen = pick_device(device)
    transformer = load_pretrained(TextDiT, folder / "transformer", model_types=[TextDiT.__name__]).to(chosen)
    scheduler = FlowMatchEulerDiscreteScheduler.from_pretrained(folder / "scheduler")
    # The tokenizer has a folder of its own in diffusers' layout.
    encoder = FrozenTextEncoder(
        folder / "text_encoder",
        chosen,
        tokenizer_folder=folder / "tokenizer",
        embeddings_alone=transformer.text_embeddings,
    )
    return Sampler(transformer, encoder, shift=float(scheduler.shift))
