"""A published language model made ready to speak of pictures: `<image>` and `<pad>`, and rows of the table for both."""

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import AddedToken, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from imagetext.conversations import IMAGE_TOKEN
from imagetext.tokenizer_training import PAD_TOKEN
from imagetext.tokenizers import load_hf_tokenizer
from llava_train.hub import local_folder
from runtime.errors import UserError
from runtime.json_files import read_object
from runtime.pretrained import load_pretrained, lossless_dtype
from runtime.seeds import torch_generator

ROW_MULTIPLE = 64
"""Embedding tables have a multiple of this many rows, which matrix units like: 128,320 for LLaMA-3."""
NEW_ROW_SPREAD = 1e-5
"""Share of the known rows' covariance around their mean that new rows are drawn with, so that a new token takes no
probability from the known ones (J. Hewitt, "Initializing New Word Embeddings for Pretrained Language Models", 2021).
"""
_NUM_PROBED_TOKENS = 8


def load_language_model(model: str | Path, *, max_length_tokens: int) -> PreTrainedModel:
    """Return a causal language model of transformers, from a folder or by its name on the Hub.

    It has the type that it is stored in, bfloat16 or else float32: what trains becomes float32 when its training
    starts, and what does not is never copied before (`runtime.pretrained.lossless_dtype`).

    Raises UserError for a folder without one, one whose logits a LLaVA would compute otherwise, or one declared for
    sequences shorter than `max_length_tokens`.
    """
    folder = local_folder(model)
    model_type = str(read_object(folder / "config.json", "model_type")["model_type"])
    # An "auto" class loads models of other classes.
    loader: Any = AutoModelForCausalLM
    language_model: PreTrainedModel = load_pretrained(
        loader, folder, model_types=[model_type], dtype=lossless_dtype(folder)
    ).eval()
    declared = getattr(language_model.config, "max_position_embeddings", None)
    if declared is not None and max_length_tokens > declared:
        wanted = f"at most {declared}, max_position_embeddings of {folder}"
        raise UserError("too long", where="max_length_tokens", found=max_length_tokens, wanted=wanted)
    _require_plain_head(language_model, folder)
    return language_model


def image_tokenizer(model: str | Path) -> PreTrainedTokenizerBase:
    """Return a language model's tokenizer with `<image>` and, where it has no padding token of its own, `<pad>`.

    They take the next free ids, 128256 and 128257 after LLaMA-3's.
    """
    tokenizer: Any = load_hf_tokenizer(local_folder(model))
    tokenizer.add_tokens([_special(IMAGE_TOKEN)], special_tokens=True)
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        # Padding with the end token would leave the end of an answer out of the loss of trainers that mask padding.
        tokenizer.add_special_tokens({"pad_token": _special(PAD_TOKEN)})
    return tokenizer


def widen_table(
    language_model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, num_known: int, seed: int
) -> None:
    """Give every token of the tokenizer a row, the number of rows a multiple of 64; those from `num_known` on are new.

    New rows of the embeddings, and of the output head where it has its own, are drawn near the mean of the known ones.
    """
    table: Any = language_model.get_input_embeddings()
    num_rows_before = len(table.weight)
    num_known = min(num_known, num_rows_before)
    wanted = max(len(tokenizer), num_rows_before)
    num_rows = -(-wanted // ROW_MULTIPLE) * ROW_MULTIPLE
    with torch.random.fork_rng(devices=[]):
        language_model.resize_token_embeddings(num_rows, mean_resizing=False)
    tables: dict[str, Any] = {
        "input": language_model.get_input_embeddings(),
        "output": language_model.get_output_embeddings(),
    }
    if tables["output"].weight is tables["input"].weight:
        del tables["output"]
    with torch.no_grad():
        for name, table in tables.items():
            generator = torch_generator(seed, "new rows", name)
            table.weight[num_known:] = near_mean(table.weight[:num_known].float(), num_rows - num_known, generator)
    language_model.config.pad_token_id = tokenizer.pad_token_id


def near_mean(
    rows: Float[Tensor, "known width"], num_new: int, generator: torch.Generator
) -> Float[Tensor, "new width"]:
    """Draw rows from a normal distribution with the mean of `rows` and `NEW_ROW_SPREAD` of their covariance.

    A sum of the centred rows with independent normal weights has their covariance, which is never built.
    """
    weights = torch.randn(num_new, len(rows), generator=generator) * (NEW_ROW_SPREAD / len(rows)) ** 0.5
    mean = rows.mean(dim=0)
    return mean + weights @ rows - weights.sum(dim=1, keepdim=True) * mean


def _special(token: str) -> AddedToken:
    return AddedToken(token, special=True, normalized=False)


@torch.inference_mode()
def _require_plain_head(language_model: PreTrainedModel, folder: Path) -> None:
    """Raise UserError unless the logits are the head's product with the last hidden states, without bias or scale."""
    ids = torch.arange(_NUM_PROBED_TOKENS).unsqueeze(0)
    head = language_model.get_output_embeddings()
    hidden = language_model.base_model(input_ids=ids).last_hidden_state
    logits = language_model(input_ids=ids).logits
    if getattr(head, "bias", None) is None and torch.allclose(
        head(hidden).float(), logits.float(), rtol=1e-4, atol=1e-4
    ):
        return
    raise UserError(
        "this language model can't speak through LLaVA",
        where=folder,
        found=f"logits of {language_model.config.model_type} are not its head's product with the last hidden states",
        wanted="a model such as LLaMA, whose head has neither bias, scale nor cap",
    )
