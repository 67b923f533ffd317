"""A small tokenizer that can pass for those of several families, and conversations, for the tests of rendering."""

import copy
from itertools import groupby
from pathlib import Path
from typing import Any

from imagetext.conversations import IGNORED_LABEL, PAPER_PROMPT, Conversation, Rendered, Turn
from imagetext.tokenizer_training import train_llama_bpe
from imagetext.tokenizers import load_hf_tokenizer
from tests.imagetext import published_templates

TEXTS = ["a boat is red", PAPER_PROMPT, "What is it? Its colour?", "[x](y)", "[x](z)"] * 5


def llama_tokenizer(folder: Path) -> Any:
    """Return a small tokenizer in LLaMA-3's format."""
    return load_hf_tokenizer(train_llama_bpe(TEXTS, 400, folder))


def llama3_instruct_tokenizer(folder: Path) -> Any:
    """Return one with LLaMA-3-Instruct's template word for word, which marks nothing."""
    tokenizer = llama_tokenizer(folder)
    tokenizer.chat_template = published_templates.LLAMA3_INSTRUCT
    return tokenizer


def dressed(tokenizer: Any, template: str | None, *, bos: str | None = "<s>", eos: str = "</s>") -> Any:
    """Return a copy of a tokenizer with another family's template and the tokens that begin and end its texts."""
    other = copy.deepcopy(tokenizer)
    other.add_special_tokens({"eos_token": eos, **({} if bos is None else {"bos_token": bos})})
    if bos is None:
        other.bos_token = None
    other.backend_tokenizer.post_processor = _begins_with(bos, other)
    other.chat_template = template
    return other


def _begins_with(bos: str | None, tokenizer: Any) -> Any:
    from tokenizers.processors import TemplateProcessing

    if bos is None:
        return TemplateProcessing(single="$A", special_tokens=[])
    return TemplateProcessing(single=f"{bos} $A", special_tokens=[(bos, tokenizer.convert_tokens_to_ids(bos))])


def conversation(*texts: str, image: bool = False, name: str = "7") -> Conversation:
    """Return a conversation of texts in turn, the user's first."""
    turns = tuple(Turn("assistant" if place % 2 else "user", text) for place, text in enumerate(texts))
    return Conversation(id=name, image="a.jpg" if image else None, turns=turns)


def marked(rendered: Rendered, tokenizer: Any) -> str:
    """Return a rendered conversation as text, supervised tokens in double brackets."""
    assert all(label in (IGNORED_LABEL, token) for token, label in zip(*rendered, strict=True))
    text = ""
    for is_supervised, run in groupby(zip(*rendered, strict=True), key=lambda pair: pair[1] != IGNORED_LABEL):
        run_text = tokenizer.decode([token for token, _ in run], clean_up_tokenization_spaces=False)
        text += f"[[{run_text}]]" if is_supervised else run_text
    return text
