"""Small models in the real formats of published ones: LLaMA-3's, SigLIP's, and the original LLaVA code's."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from imagetext.chat_templates import LLAMA3
from imagetext.conversations import PAPER_PROMPT
from imagetext.tokenizer_training import (
    BEGIN_OF_TEXT,
    END_OF_TEXT,
    IMAGE_TOKEN,
    PAD_TOKEN,
    train_llama_bpe,
)
from tests.llava_train import tiny

NUM_TOKENS = 318
"""Of the tokenizers here; `<image>` and `<pad>` then fill a table of 320 rows."""
ROTARY_BASE = 500_000.0
"""LLaMA-3's: a reader that misses it and takes 10,000 gives other logits."""
SHAPES = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "initializer_range": 0.2,
}  # fmt: skip


def write_llama(
    folder: Path, *, chat_template: str | None = LLAMA3.plain, dtype: torch.dtype = torch.float32, **changes: Any
) -> Path:
    """Write a tiny LLaMA-3 with grouped heads and its tokenizer, which knows neither `<image>` nor `<pad>`."""
    from transformers import LlamaConfig, LlamaForCausalLM

    write_base_tokenizer(folder, chat_template)
    torch.manual_seed(1)
    shapes = {**SHAPES, "rope_theta": ROTARY_BASE, "vocab_size": NUM_TOKENS, **changes}
    nn.Module.to(LlamaForCausalLM(LlamaConfig(**shapes)), dtype).save_pretrained(folder)
    return folder


def write_base_tokenizer(folder: Path, chat_template: str | None = LLAMA3.plain) -> None:
    """Write a tokenizer of LLaMA-3's kind, of `NUM_TOKENS` tokens, without the two tokens of captioners."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    train_llama_bpe([PAPER_PROMPT, "The whole image is red green blue white."], NUM_TOKENS + 2, folder)
    backend = json.loads((folder / "tokenizer.json").read_text())
    backend["added_tokens"] = [one for one in backend["added_tokens"] if one["content"] not in (IMAGE_TOKEN, PAD_TOKEN)]
    for file in folder.iterdir():
        file.unlink()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(backend)), bos_token=BEGIN_OF_TEXT, eos_token=END_OF_TEXT
    )
    tokenizer.chat_template = chat_template
    tokenizer.save_pretrained(folder)
    assert len(tokenizer) == NUM_TOKENS


def write_siglip(folder: Path) -> Path:
    """Write an untrained SigLIP directory with a three-layer vision tower and its pooling head."""
    from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel

    torch.manual_seed(2)
    text = {
        "vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
        "num_attention_heads": 2, "max_position_embeddings": 16,
    }  # fmt: skip
    vision = {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2,
        "image_size": tiny.IMAGE_SIZE_PX, "patch_size": 8,
    }  # fmt: skip
    SiglipModel(SiglipConfig(text_config=text, vision_config=vision)).save_pretrained(folder)
    side = {"height": tiny.IMAGE_SIZE_PX, "width": tiny.IMAGE_SIZE_PX}
    SiglipImageProcessor(size=side).save_pretrained(folder)
    return folder


def original_config(clip: Path, **changes: Any) -> dict[str, Any]:
    """Return a config with the fields of the released captioner (tennant/llava-llama-3-8b-hqedit), small shapes."""
    return {
        "_name_or_path": "checkpoints/llava-v1.5-llama3-8b-lora-merged",
        "architectures": ["LlavaLlamaForCausalLM"],
        "attention_bias": False,
        "bos_token_id": NUM_TOKENS - 5,
        "eos_token_id": NUM_TOKENS - 4,
        "freeze_mm_mlp_adapter": False,
        "hidden_act": "silu",
        "image_aspect_ratio": "pad",
        "mm_hidden_size": 32,
        "mm_patch_merge_type": "flat",
        "mm_projector_lr": 2e-05,
        "mm_projector_type": "mlp2x_gelu",
        "mm_use_im_patch_token": False,
        "mm_use_im_start_end": False,
        "mm_vision_select_feature": "patch",
        "mm_vision_select_layer": -2,
        "mm_vision_tower": str(clip),
        "model_type": "llava_llama",
        "pretraining_tp": 1,
        "rope_scaling": None,
        "rope_theta": ROTARY_BASE,
        "tie_word_embeddings": False,
        "tokenizer_model_max_length": 8192,
        "tokenizer_padding_side": "right",
        "torch_dtype": "float16",
        "transformers_version": "4.40.0",
        "tune_mm_mlp_adapter": False,
        "use_cache": True,
        "use_mm_proj": True,
        "vocab_size": NUM_TOKENS,
        **SHAPES,
        **changes,
    }


def original_weights(dtype: torch.dtype = torch.float16) -> dict[str, Tensor]:
    """Return random weights by the names of the original code, the projector among LLaMA's."""
    generator = torch.Generator().manual_seed(3)
    width, inner, half = SHAPES["hidden_size"], SHAPES["intermediate_size"], SHAPES["hidden_size"] // 2
    layer = {
        "self_attn.q_proj": (width, width), "self_attn.k_proj": (half, width), "self_attn.v_proj": (half, width),
        "self_attn.o_proj": (width, width), "mlp.gate_proj": (inner, width), "mlp.up_proj": (inner, width),
        "mlp.down_proj": (width, inner), "input_layernorm": (width,), "post_attention_layernorm": (width,),
    }  # fmt: skip
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (NUM_TOKENS, width),
        **{
            f"model.layers.{index}.{name}.weight": shape
            for index in range(SHAPES["num_hidden_layers"])
            for name, shape in layer.items()
        },
        "model.norm.weight": (width,),
        "lm_head.weight": (NUM_TOKENS, width),
        "model.mm_projector.0.weight": (width, 32),
        "model.mm_projector.0.bias": (width,),
        "model.mm_projector.2.weight": (width, width),
        "model.mm_projector.2.bias": (width,),
    }
    return {name: (0.2 * torch.randn(shape, generator=generator)).to(dtype) for name, shape in shapes.items()}


def write_original(
    folder: Path, clip: Path, *, weights: dict[str, Tensor] | None = None, files: str = "safetensors", **changes: Any
) -> Path:
    """Write a checkpoint in the original layout: "safetensors", "sharded" or "bin" (sharded, as LLaVA itself saves)."""
    write_base_tokenizer(folder)
    (folder / "config.json").write_text(json.dumps(original_config(clip, **changes)))
    weights = original_weights() if weights is None else weights
    if files == "safetensors":
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        return folder
    names = sorted(weights)
    pieces = (names[: len(names) // 2], names[len(names) // 2 :])
    stem, ending = ("model", "safetensors") if files == "sharded" else ("pytorch_model", "bin")
    weight_map = {}
    for number, piece in enumerate(pieces, start=1):
        file = folder / f"{stem}-{number:05d}-of-00002.{ending}"
        tensors = {name: weights[name] for name in piece}
        if files == "sharded":
            save_file(tensors, file, metadata={"format": "pt"})
        else:
            torch.save(tensors, file)
        weight_map |= dict.fromkeys(piece, file.name)
    (folder / f"{stem}.{ending}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder
