"""What other packages may know of a captioner: load a published one, and let it answer."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from PIL import Image
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerBase

from imagetext.conversations import render_prompt, stop_token_ids
from imagetext.tokenizers import load_hf_tokenizer
from llava_train.attention import captioner_attention
from llava_train.construction import require_known_construction
from llava_train.decoding.by_module import ModuleEngine
from llava_train.decoding.engine import SlotEngine
from llava_train.decoding.questions import Ask, Engine, EngineSettings, Question, Said, settings_for
from llava_train.decoding.weights import fuse_language, serves
from llava_train.generation import Answer, generate
from llava_train.network import image_features
from llava_train.parity import check_example
from llava_train.parts import num_image_tokens
from llava_train.pixels import Normaliser, PixelGeometry, read_geometry
from runtime.device import DeviceName, pick_device
from runtime.pretrained import load_pretrained

__all__ = [
    "Answer",
    "Ask",
    "Engine",
    "EngineSettings",
    "LoadedCaptioner",
    "Question",
    "Said",
    "load_captioner",
    "settings_for",
]


@dataclass(frozen=True, kw_only=True)
class LoadedCaptioner:
    """A published captioner, ready to answer prompts about pictures."""

    llava: LlavaForConditionalGeneration
    tokenizer: PreTrainedTokenizerBase
    geometry: PixelGeometry
    normaliser: Normaliser
    device: torch.device
    precision: torch.dtype
    """Type of the matrix products; everything else stays in float32."""

    def answer(
        self,
        images: Sequence[Image.Image],
        prompts: Sequence[str],
        *,
        max_new_tokens: int = 128,
        batch_size: int = 64,
    ) -> list[str]:
        """Return the greedy answer to each prompt about its picture, in order. Pictures are RGB."""
        pixels = [self.geometry.prepare(image) for image in images]
        answers = self.answer_pixels(pixels, prompts, max_new_tokens=max_new_tokens, batch_size=batch_size)
        return [self.text(answer) for answer in answers]

    def answer_pixels(
        self,
        pixels: Sequence[UInt8[np.ndarray, "channel height width"]],
        prompts: Sequence[str],
        *,
        max_new_tokens: int,
        batch_size: int,
    ) -> list[Answer]:
        """Return tokens, finish reason and log-probability for each prompt about its prepared picture.

        Prompts of equal length share a batch, so that nothing is padded.
        """
        prompt_ids = {prompt: self.prompt_ids(prompt) for prompt in dict.fromkeys(prompts)}
        by_length: dict[int, list[int]] = defaultdict(list)
        for index, prompt in enumerate(prompts):
            by_length[len(prompt_ids[prompt])].append(index)
        answers: dict[int, Answer] = {}
        for indices in by_length.values():
            for start in range(0, len(indices), batch_size):
                chunk = indices[start : start + batch_size]
                ids = torch.tensor([prompt_ids[prompts[index]] for index in chunk])
                images = torch.from_numpy(np.stack([pixels[index] for index in chunk]))
                answers.update(zip(chunk, self._generate(ids, images, max_new_tokens, self.stop_ids), strict=True))
        return [answers[index] for index in range(len(prompts))]

    def prompt_ids(self, prompt: str) -> list[int]:
        """Return the tokens of a prompt about one picture, ready to be answered."""
        return render_prompt(prompt, self.tokenizer, num_image_tokens(self.llava))

    def text(self, answer: Answer) -> str:
        """Return an answer's text."""
        return str(self.tokenizer.decode(list(answer.token_ids), skip_special_tokens=True)).strip()

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """Return the tokens that end an answer."""
        return tuple(stop_token_ids(self.tokenizer))

    def engine(
        self, settings: EngineSettings, *, take_over: bool = False, fp8: bool = False, beside: Engine | None = None
    ) -> Engine:
        """Return what answers many questions fast: weights joined, keys and values cached in slots of fixed shape.

        `take_over` moves the language model's weights instead of copying them: nothing else here can be used then.
        `fp8` rounds the products of the language model's blocks to 8 bits. `beside` is an engine of this captioner: the
        new one shares its weights, and has settings of its own. Language models of another construction than LLaMA's,
        Mistral's or Qwen's are run as they are, batch by batch.
        """
        if not serves(self.llava):
            return ModuleEngine(
                lambda ids, images: self._generate(ids, images, settings.max_new_tokens, settings.stop_ids), settings
            )
        if isinstance(beside, SlotEngine):
            return SlotEngine(self.llava, self._see, beside.weights, settings)
        weights = fuse_language(self.llava, device=self.device, dtype=self.precision, fp8=fp8, take_over=take_over)
        return SlotEngine(self.llava, self._see, weights, settings)

    def _see(self, images: UInt8[Tensor, "images channel height width"]) -> Float[Tensor, "images patches features"]:
        with self._autocast():
            return image_features(self.llava, self.normaliser(images))

    def _generate(
        self,
        ids: Int64[Tensor, "batch tokens"],
        images: UInt8[Tensor, "batch channel height width"],
        max_new_tokens: int,
        stop_ids: Sequence[int],
    ) -> list[Answer]:
        pixel_values = self.normaliser(images.to(self.device))
        with self._autocast():
            return generate(
                self.llava, ids.to(self.device), pixel_values, max_new_tokens=max_new_tokens, stop_ids=stop_ids
            )

    def _autocast(self) -> torch.autocast:
        enabled = self.precision != torch.float32
        return torch.autocast(self.device.type, dtype=self.precision if enabled else torch.bfloat16, enabled=enabled)


def load_captioner(
    folder: Path,
    *,
    device: DeviceName = "auto",
    precision: torch.dtype = torch.bfloat16,
    stored: torch.dtype = torch.float32,
) -> LoadedCaptioner:
    """Load a `LlavaForConditionalGeneration` directory: ours or any other with a LLaMA-3 template.

    `stored` is the type that its weights are kept in; who only wants an engine keeps them in `precision`.

    Raises UserError when the folder holds no such model, one with missing weights, one of another construction, or one
    whose prompts are no longer rendered as in training.
    """
    chosen = pick_device(device)
    require_known_construction(folder)
    llava = load_pretrained(
        LlavaForConditionalGeneration,
        folder,
        model_types=["llava"],
        attn_implementation=captioner_attention(chosen),
        dtype=stored,
    ).eval()
    nn.Module.to(llava, chosen)
    geometry = read_geometry(folder)
    tokenizer = load_hf_tokenizer(folder)
    check_example(folder, tokenizer, num_image_tokens(llava))
    return LoadedCaptioner(
        llava=llava,
        tokenizer=tokenizer,
        geometry=geometry,
        normaliser=Normaliser(geometry).to(chosen),
        device=chosen,
        precision=precision,
    )
