"""The pipeline file of exported folders: it imports torch and diffusers only and draws what `dit_train.sampler` does.

pipe = DiffusionPipeline.from_pretrained(FOLDER, custom_pipeline=FOLDER, trust_remote_code=True)
image = pipe("a red house beside a tree", guidance_scale=3.0, num_inference_steps=10).images[0]
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline, ImagePipelineOutput
from torch import Tensor


class TextDiTPipeline(DiffusionPipeline):
    """Draw images from prompts with a text-conditioned diffusion transformer: in pixels, or in the latents of a VAE."""

    _optional_components = ["vae"]  # noqa: RUF012 (as diffusers declares it)
    model_cpu_offload_seq = "text_encoder->transformer->vae"  # type: ignore[assignment]  # diffusers types it None
    transformer: Any
    text_encoder: Any
    tokenizer: Any
    scheduler: Any
    vae: Any

    def __init__(self, transformer: Any, text_encoder: Any, tokenizer: Any, scheduler: Any, vae: Any = None) -> None:
        super().__init__()
        self.register_modules(
            transformer=transformer, text_encoder=text_encoder, tokenizer=tokenizer, scheduler=scheduler, vae=vae
        )

    def read_prompts(self, prompts: Sequence[str]) -> Any:
        """Return the transformer's text memory of the prompts, computed once for all steps."""
        config = self.text_encoder.config
        is_t5 = config.model_type == "t5"
        tokens = self.tokenizer(
            list(prompts),
            padding="longest",
            truncation=True,
            max_length=self.tokenizer.model_max_length if is_t5 else config.max_position_embeddings,
            return_tensors="pt",
        ).to(self._execution_device)
        if self.transformer.config.text_embeddings:
            hidden = self.text_encoder.get_input_embeddings()(tokens.input_ids)
        else:
            # A causal CLIP never looks at the padding behind a text; T5 would.
            seen = {"attention_mask": tokens.attention_mask} if is_t5 else {}
            hidden = self.text_encoder(input_ids=tokens.input_ids, **seen).last_hidden_state
        return self.transformer.read_text(hidden, tokens.attention_mask.bool())

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | Sequence[str],
        negative_prompt: str = "",
        num_inference_steps: int = 10,
        guidance_scale: float = 3.0,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> ImagePipelineOutput | tuple[Any]:
        """Draw one image per prompt. output_type: "pil", "np" (batch height width channel in [0, 1]) or "pt".

        `generator` is one generator, or one per prompt: then an image does not depend on the rest of its batch.
        """
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        generators = self._generators(len(prompts), generator)
        image = self._draw_noise(generators)
        text = self.read_prompts(prompts)
        nothing = self.read_prompts([negative_prompt]) if guidance_scale != 1 else None
        for timestep in self.progress_bar(self._timesteps(num_inference_steps)):
            time = timestep.expand(len(prompts))
            prediction = self.transformer(image, time, text_memory=text).sample
            if nothing is not None:
                channels = image.shape[1]
                blank = self.transformer(image, time, text_memory=nothing).sample[:, :channels]
                guided = blank + guidance_scale * (prediction[:, :channels] - blank)
                # A learned variance is the conditional model's.
                prediction = torch.cat([guided, prediction[:, channels:]], dim=1)
            image = self.scheduler.step(prediction, timestep, image, generator=generators, return_dict=False)[0]
        images = self._finish(image, output_type)
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    def _timesteps(self, num_steps: int) -> Any:
        if "shift" in self.scheduler.config:
            # Given sigmas are shifted once by the scheduler; left to itself it would shift a second time.
            self.scheduler.set_timesteps(sigmas=np.linspace(1, 1 / num_steps, num_steps), device=self._execution_device)
        else:
            self.scheduler.set_timesteps(num_steps, device=self._execution_device)
        return self.scheduler.timesteps

    def _generators(
        self, num_images: int, generator: torch.Generator | Sequence[torch.Generator] | None
    ) -> list[torch.Generator]:
        if generator is None:
            generator = torch.Generator().manual_seed(int(torch.randint(2**62, (1,))))
        generators = list(generator) if isinstance(generator, Sequence) else [generator] * num_images
        if len(generators) != num_images:
            raise ValueError(f"{len(generators)} generators for {num_images} prompts: give one, or one per prompt")
        return generators

    def _draw_noise(self, generators: Sequence[torch.Generator]) -> Tensor:
        size = self.transformer.sample_size
        shape = (self.transformer.in_channels, size, size)
        noise = torch.stack([torch.randn(shape, generator=each) for each in generators])
        return noise.to(self._execution_device)

    def _finish(self, image: Tensor, output_type: str) -> Any:
        if self.vae is not None:
            config = self.vae.config
            image = self.vae.decode(image / config.scaling_factor + (config.shift_factor or 0.0)).sample
        unit = (image.float() / 2 + 0.5).clamp(0, 1)
        if output_type == "pt":
            return unit
        pixels = unit.permute(0, 2, 3, 1).cpu().numpy()
        return pixels if output_type == "np" else self.numpy_to_pil(pixels)
