"""Untrained captioners of every construction that is decoded in slots, whose answers have many lengths."""

from typing import Any

import numpy as np
import torch
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
)

from llava_train.decoding.engine import SlotEngine
from llava_train.decoding.questions import Ask, EngineSettings, Question
from llava_train.decoding.weights import fuse_language
from llava_train.network import image_features

IMAGE_TOKEN, STOP_IDS, VOCABULARY, NUM_PATCHES = 60, (1, 2), 64, 4
MAX_NEW_TOKENS = 12
HEADER = (5, 6)
_SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 256,
    "initializer_range": 0.3, "bos_token_id": None, "eos_token_id": None, "pad_token_id": None,
}  # fmt: skip
CONSTRUCTIONS: dict[str, Any] = {
    "llama": LlamaConfig(**_SHAPE),
    "llama, scaled positions, tied table": LlamaConfig(
        **{**_SHAPE, "tie_word_embeddings": True},
        rope_parameters={
            "rope_type": "llama3", "rope_theta": 10_000.0, "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 64,
        },
    ),
    "mistral": MistralConfig(**_SHAPE, sliding_window=None),
    "qwen2": Qwen2Config(**_SHAPE),
    "qwen3": Qwen3Config(**_SHAPE),
}  # fmt: skip


def random_llava(name: str = "llama") -> LlavaForConditionalGeneration:
    torch.manual_seed(0)
    vision = CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=8, patch_size=4,
        initializer_factor=5.0,
    )  # fmt: skip
    config = LlavaConfig(
        vision_config=vision.to_dict(), text_config=CONSTRUCTIONS[name].to_dict(), image_token_index=IMAGE_TOKEN,
        image_seq_length=NUM_PATCHES, tie_word_embeddings=CONSTRUCTIONS[name].tie_word_embeddings,
    )  # fmt: skip
    llava = LlavaForConditionalGeneration(config).eval()
    with torch.no_grad():
        for parameter in llava.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.2 * torch.randn(parameter.shape))
        # Stop tokens win now and then, the image token never.
        llava.lm_head.weight[IMAGE_TOKEN] = 0
        llava.lm_head.weight[list(STOP_IDS)] *= 1.5
    return llava


def see(llava: LlavaForConditionalGeneration) -> Any:
    return lambda images: image_features(llava, images.float() / 64 - 2)


def open_engine(llava: LlavaForConditionalGeneration, **changes: Any) -> SlotEngine:
    fields = {"max_new_tokens": MAX_NEW_TOKENS, "stop_ids": STOP_IDS, "num_slots": 6, "pictures_per_prefill": 2}
    settings = EngineSettings(**{**fields, **changes})
    weights = fuse_language(llava, device=torch.device("cpu"), dtype=torch.float32)
    return SlotEngine(llava, see(llava), weights, settings)


def prompt(*suffix: int) -> tuple[int, ...]:
    return (*HEADER, *(IMAGE_TOKEN,) * NUM_PATCHES, *suffix)


def asks(count: int, *suffixes: tuple[int, ...]) -> list[Ask]:
    """Return pictures with the same questions about each; by default one."""
    prompts = [prompt(*suffix) for suffix in suffixes or ((7, 8, 9),)]
    return [
        Ask(
            ticket=100 + index,
            pixels=np.random.default_rng(index).integers(0, 256, (3, 8, 8), dtype=np.uint8),
            questions=tuple(Question(token_ids=tokens) for tokens in prompts),
        )
        for index in range(count)
    ]


@torch.inference_mode()
def by_transformers(llava: LlavaForConditionalGeneration, ask: Ask, limit: int = MAX_NEW_TOKENS) -> list[list[int]]:
    """Return transformers' own greedy answers to one ask, without the stop token."""
    pixels = torch.from_numpy(ask.pixels[None]).float() / 64 - 2
    answers = []
    # Its declared type of `self` is one that no model has.
    generate: Any = llava.generate  # type: ignore[misc]
    for question in ask.questions:
        ids = torch.tensor([question.token_ids])
        out = generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=pixels, do_sample=False,
            max_new_tokens=limit, eos_token_id=list(STOP_IDS), pad_token_id=0,
        )[0, ids.shape[1] :].tolist()  # fmt: skip
        answers.append(out[:-1] if out[-1] in STOP_IDS else out)
    return answers
