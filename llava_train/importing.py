"""Import a captioner of the original LLaVA code: every tensor of it finds its place, or the import stops."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaForCausalLM, LlavaForConditionalGeneration, PreTrainedModel, PreTrainedTokenizerBase
from transformers.initialization import no_init_weights

from imagetext.chat_marks import settle_chat_template
from imagetext.tokenizers import load_hf_tokenizer
from llava_train.build import join_captioner
from llava_train.export import write_captioner
from llava_train.hub import local_folder
from llava_train.import_config import ImportConfig
from llava_train.language_models import image_tokenizer, widen_table
from llava_train.original_llava import (
    OriginalConfig,
    PartName,
    fill,
    read_original_config,
    read_original_weights,
    split_parts,
)
from llava_train.pixels import read_geometry
from llava_train.towers import load_tower
from runtime.atomic import atomic_directory
from runtime.errors import UserError
from runtime.json_files import read_object

MARK = "imported_from.json"
"""What was imported, beside the weights: a second import of the same returns at once."""
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
_SEED = 0
"""Of the rows for `<image>`, which the projector's features replace, and `<pad>`, which nothing reads."""

Parts = dict[PartName, dict[str, Tensor]]


def import_captioner(config: ImportConfig) -> Path:
    """Write the captioner in `config.input` as a transformers directory and return it.

    Raises UserError when the checkpoint lacks a weight or holds one that would be left unused, when its construction is
    not that of transformers' LLaVA, or when `config.output` holds something else.
    """
    source = _describe(config)
    if _is_there(config.output, source):
        return config.output
    original = read_original_config(config.input)
    tokenizer = image_tokenizer(config.input)
    settle_chat_template(tokenizer, config.chat_template)
    tower_folder = local_folder(config.vision_tower or original.vision_tower)
    tower = load_tower(tower_folder, max_length_tokens=original.language_model.max_position_embeddings)
    parts = split_parts(read_original_weights(config.input), config.input)
    llava = _assemble(config.input, original, tower, parts, tokenizer)
    geometry = replace(read_geometry(tower_folder), pad=original.pad_images)
    stored = next(iter(parts["language_model"].values())).dtype
    dtype = _DTYPES.get(config.precision, stored)
    with atomic_directory(config.output) as partial:
        write_captioner(llava, tokenizer, geometry, partial, dtype=dtype)
        counts = {part: len(weights) for part, weights in parts.items()}
        (partial / MARK).write_text(json.dumps({"source": source, "num_tensors": counts}, indent=2) + "\n")
    return config.output


def _assemble(
    folder: Path, original: OriginalConfig, tower: Any, parts: Parts, tokenizer: PreTrainedTokenizerBase
) -> LlavaForConditionalGeneration:
    if parts["vision_tower"]:
        fill(tower, parts["vision_tower"], "vision_tower", folder)
    elif original.tower_was_trained:
        found = "unfreeze_mm_vision_tower: true, and no weights of the tower"
        raise UserError("the checkpoint lacks its vision tower", where=folder, found=found)
    language_model = _language_model(folder, original, parts)
    num_known = len(load_hf_tokenizer(folder))
    widen_table(language_model, tokenizer, num_known=num_known, seed=_SEED)
    llava = join_captioner(tower, language_model, tokenizer, seed=_SEED, attention="eager")
    llava.config.vision_feature_layer = original.vision_feature_layer
    fill(llava.model.multi_modal_projector, parts["projector"], "projector", folder)
    return llava


def _language_model(folder: Path, original: OriginalConfig, parts: Parts) -> PreTrainedModel:
    with no_init_weights():
        language_model: PreTrainedModel = LlamaForCausalLM._from_config(original.language_model)
    fill(language_model.base_model, parts["language_model"], "language_model", folder)
    if original.language_model.tie_word_embeddings and not parts["head"]:
        language_model.tie_weights()
    else:
        fill(language_model.get_output_embeddings(), parts["head"], "head", folder)
    return language_model


def _describe(config: ImportConfig) -> dict[str, object]:
    """Return what tells one import from another: the options and the input's files by size."""
    if not config.input.is_dir():
        raise UserError("no such folder", where=config.input, fix="Check --input")
    files = {path.name: path.stat().st_size for path in sorted(config.input.iterdir()) if path.is_file()}
    return {
        "files": files,
        "vision_tower": None if config.vision_tower is None else str(config.vision_tower),
        "chat_template": config.chat_template,
        "precision": config.precision,
    }


def _is_there(output: Path, source: dict[str, object]) -> bool:
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return False
    if (output / MARK).is_file() and read_object(output / MARK, "source")["source"] == source:
        return True
    raise UserError("holds something else already", where=output, wanted="no such folder", fix="Choose another output")
