"""Publish a captioner as a transformers directory in the key layout that servers load too."""

import json
import re
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import split_state_dict_into_shards_factory
from safetensors.torch import save_file
from torch import Tensor
from transformers import GenerationConfig, LlavaForConditionalGeneration, LlavaProcessor, PreTrainedTokenizerBase

from imagetext.conversations import stop_token_ids
from llava_train.parity import save_example
from llava_train.parts import num_class_tokens, num_image_tokens, vision_config
from llava_train.pixels import PixelGeometry
from llava_train.published_tokenizer import published_tokenizer
from runtime.atomic import atomic_directory
from runtime.json_files import read_object

MAX_NEW_TOKENS = 128
"""The paper's limit on a caption's tokens (arXiv 2406.08478, section 3.2)."""
MAX_FILE_BYTES = 5 * 10**9
"""Largest weights file, as on the Hub; a larger model is cut into several with an index."""

_PUBLISHED_NAMES = (
    (re.compile(r"^model\.language_model\."), "language_model.model."),
    (re.compile(r"^lm_head\."), "language_model.lm_head."),
    (re.compile(r"^model\.multi_modal_projector\."), "multi_modal_projector."),
    (re.compile(r"^model\.vision_tower\.(?:vision_model\.)?"), "vision_tower.vision_model."),
)
"""From the names in memory to those of the released LLaVA checkpoints, which transformers and vLLM both map back.

transformers 5 would itself drop `vision_model.` when saving, and vLLM then finds no vision tower.
"""


def published_name(name: str) -> str:
    """Return the name under which a weight of `LlavaForConditionalGeneration` is published."""
    for pattern, replacement in _PUBLISHED_NAMES:
        renamed, count = pattern.subn(replacement, name)
        if count:
            return renamed
    raise AssertionError(f"no published name for {name}")


def export_captioner(
    llava: LlavaForConditionalGeneration,
    tokenizer: PreTrainedTokenizerBase,
    geometry: PixelGeometry,
    folder: Path,
    *,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Publish a captioner in `folder`, with the example of how it was asked in training; whole or not at all."""
    with atomic_directory(folder) as partial:
        write_captioner(llava, tokenizer, geometry, partial, dtype=dtype)
        save_example(tokenizer, num_image_tokens(llava), partial)


def write_captioner(
    llava: LlavaForConditionalGeneration,
    tokenizer: PreTrainedTokenizerBase,
    geometry: PixelGeometry,
    folder: Path,
    *,
    dtype: torch.dtype,
) -> None:
    """Write weights, config, processor, chat template and generation settings into a folder."""
    _save_config(llava, dtype, folder)
    _save_weights(_published(llava), dtype, folder)
    _save_processor(llava, tokenizer, geometry, folder)
    GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=stop_token_ids(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        do_sample=False,
        max_new_tokens=MAX_NEW_TOKENS,
    ).save_pretrained(folder)


def _save_config(llava: LlavaForConditionalGeneration, dtype: torch.dtype, folder: Path) -> None:
    config = llava.config.__class__.from_dict(llava.config.to_dict())
    config.architectures = ["LlavaForConditionalGeneration"]
    config.dtype = dtype
    config.save_pretrained(folder)
    _add_older_names(folder / "config.json")


def _add_older_names(file: Path) -> None:
    """Say dtype and rotary embedding also under the names that transformers 4 reads: servers may still stand on it.

    It would not find them where transformers 5 writes them, take its own defaults, and read LLaMA-3 wrongly.
    """
    config = read_object(file)
    config["torch_dtype"] = config["dtype"]
    rotary = dict(config["text_config"].get("rope_parameters") or {})
    if "rope_theta" in rotary:
        config["text_config"]["rope_theta"] = rotary.pop("rope_theta")
        if rotary.get("rope_type", "default") != "default":
            config["text_config"]["rope_scaling"] = rotary
    file.write_text(json.dumps(config, indent=2) + "\n")


def _published(llava: LlavaForConditionalGeneration) -> dict[str, Tensor]:
    """Return the weights by their published names, a tied one once: its config says that it is tied."""
    published: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in llava.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            published[published_name(name)] = tensor.detach()
    return published


def _save_weights(weights: dict[str, Tensor], dtype: torch.dtype, folder: Path) -> None:
    # Annotated by its author for no kind of tensor at all.
    split: Any = split_state_dict_into_shards_factory
    files = split(
        weights,
        get_storage_size=lambda tensor: tensor.numel() * dtype.itemsize,
        filename_pattern="model{suffix}.safetensors",
        max_shard_size=MAX_FILE_BYTES,
    )
    for file_name, names in files.filename_to_tensors.items():
        # Converted one file at a time: two copies of a large model may not fit in memory.
        tensors = {name: weights[name].to("cpu", dtype).contiguous() for name in names}
        save_file(tensors, folder / file_name, metadata={"format": "pt"})
    if files.is_sharded:
        index = {"metadata": files.metadata, "weight_map": files.tensor_to_filename}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


def _save_processor(
    llava: LlavaForConditionalGeneration, tokenizer: PreTrainedTokenizerBase, geometry: PixelGeometry, folder: Path
) -> None:
    image_processor = geometry.published()
    LlavaProcessor(
        image_processor=image_processor,
        tokenizer=published_tokenizer(tokenizer),
        patch_size=vision_config(llava).patch_size,
        vision_feature_select_strategy=llava.config.vision_feature_select_strategy,
        chat_template=tokenizer.chat_template,
        num_additional_image_tokens=num_class_tokens(llava),  # which "default" drops again
    ).save_pretrained(folder)
    # transformers 4 looks for the image processor in a file of its own.
    image_processor.save_pretrained(folder)
