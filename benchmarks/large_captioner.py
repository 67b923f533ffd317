"""A captioner of published size with random weights, made on its device; and the most that device could caption."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig

from benchmarks.pictures import draw_pairs
from imagetext.conversations import PAPER_PROMPT, image_token_id, stop_token_ids
from imagetext.tokenizer_training import train_llama_bpe
from imagetext.tokenizers import load_hf_tokenizer
from llava_train.compute import CaptionerCost, Content
from llava_train.geometry import KNOWN_LANGUAGE_MODELS, KNOWN_VISION_TOWERS, on_meta
from llava_train.model import LoadedCaptioner
from llava_train.parts import inner_tower, num_patches, vision_config
from llava_train.pixels import Normaliser, PixelGeometry
from runtime.hardware import Accelerator

VOCABULARY = 128_320
"""LLaMA-3's 128,256 tokens, two more, and up to a multiple of 64."""
_TOKENIZER_TOKENS = 512
_WEIGHT_STD = 0.02
_CLIP_MEAN, _CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_FP8_FACTOR = 2
"""Products of 8-bit floats run at twice the rate of bfloat16's."""


def published_shape() -> LlavaConfig:
    """Return the shape of LLaVA-1.5 on LLaMA-3-8B with CLIP ViT-L/14 at 336 px."""
    language = LlamaConfig(**{**KNOWN_LANGUAGE_MODELS["meta-llama/Meta-Llama-3-8B-Instruct"], "vocab_size": VOCABULARY})
    tower = CLIPVisionConfig(**KNOWN_VISION_TOWERS["openai/clip-vit-large-patch14-336"])
    return _joined(tower, language)


def tiny_shape() -> LlavaConfig:
    """Return a shape of the same construction, grouped heads and all, that a CPU runs at once."""
    language = LlamaConfig(
        vocab_size=_TOKENIZER_TOKENS, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512,
    )  # fmt: skip
    tower = CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14
    )
    return _joined(tower, language)


def make_captioner(shape: LlavaConfig, folder: Path, device: torch.device, precision: torch.dtype) -> LoadedCaptioner:
    """Return a captioner of a shape whose random weights are drawn on its device, in the type that they are used in.

    Its tokenizer, small and trained here, goes to `folder`. No answer ends before the limit: stop tokens score zero,
    far below the likeliest of many random scores.
    """
    texts = [pair.caption for pair in draw_pairs(64, 64, 64)]
    train_llama_bpe([PAPER_PROMPT, *texts], _TOKENIZER_TOKENS, folder)
    tokenizer = load_hf_tokenizer(folder)
    shape.image_token_id = shape.image_token_index = image_token_id(tokenizer)
    llava = on_meta(shape).eval()
    nn.Module.to(llava, dtype=precision)
    llava.to_empty(device=device)
    generator = torch.Generator(device=device).manual_seed(0)
    with torch.no_grad():
        for name, parameter in llava.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, _WEIGHT_STD, generator=generator)
            else:
                parameter.fill_(1.0 if name.endswith("weight") else 0.0)
        llava.lm_head.weight[stop_token_ids(tokenizer)] = 0
    _fill_buffers(llava, device)
    geometry = PixelGeometry(image_size_px=_side_px(llava), mean=_CLIP_MEAN, std=_CLIP_STD)
    return LoadedCaptioner(
        llava=llava,
        tokenizer=tokenizer,
        geometry=geometry,
        normaliser=Normaliser(geometry).to(device),
        device=device,
        precision=precision,
    )


@dataclass(frozen=True, kw_only=True)
class Roofline:
    """What captions cost at least: products at the peak rate, and each token's keys and values read once per step.

    Weights read by decoding steps are left out: steps that also hold prompts read them anyway.
    """

    flops: float
    """Products of one picture and its caption: vision tower, prompt, caption."""
    language_flops: float
    """Those of the language model's blocks, which fp8 computes at twice the rate."""
    cache_bytes: float
    """Keys and values read while one caption is decoded, two bytes each."""

    @classmethod
    def of(cls, shape: LlavaConfig, prompt_tokens: int, new_tokens: int) -> "Roofline":
        """Count for a prompt and a caption of so many tokens; the last token is never read."""
        content = Content.of_sample(prompt_tokens + new_tokens - 1, new_tokens, 1)
        work = CaptionerCost(on_meta(shape)).of(content).forward
        text: Any = shape.text_config
        head_width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        token_bytes = 2 * 2 * text.num_hidden_layers * text.num_key_value_heads * head_width
        num_read = sum(prompt_tokens + step for step in range(1, new_tokens))
        return cls(
            flops=float(sum(work.values())),
            language_flops=float(work["language model"]),
            cache_bytes=float(token_bytes * num_read),
        )

    def images_per_second(self, accelerator: Accelerator, *, fp8: bool) -> float:
        """Return the most images a second that an accelerator could caption."""
        eight_bit = self.language_flops if fp8 else 0.0
        flops = self.flops - eight_bit + eight_bit / _FP8_FACTOR
        seconds = flops / accelerator.bf16_flops_per_second + self.cache_bytes / accelerator.memory_bytes_per_second
        return 1 / seconds


def _joined(tower: CLIPVisionConfig, language: LlamaConfig) -> LlavaConfig:
    return LlavaConfig(
        vision_config=tower.to_dict(),
        text_config=language.to_dict(),
        image_token_index=0,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        projector_hidden_act="gelu",
        image_seq_length=num_patches(tower),
    )


def _fill_buffers(llava: Any, device: torch.device) -> None:
    """Compute what is no weight: a module without storage has lost it."""
    language = llava.model.language_model
    language.rotary_emb = type(language.rotary_emb)(config=language.config).to(device)
    embeddings: Any = inner_tower(llava).embeddings
    embeddings.position_ids = torch.arange(embeddings.position_embedding.num_embeddings, device=device).unsqueeze(0)


def _side_px(llava: Any) -> int:
    return int(vision_config(llava).image_size)  # type: ignore[arg-type]
