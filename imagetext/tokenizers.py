"""Captions to fixed-length token ids, with what was cut off counted."""

import html
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from runtime.errors import UserError
from runtime.json_files import read_object


@dataclass(frozen=True)
class TokenBatch:
    """Hold padded token ids and what became of each text."""

    ids: Int64[Tensor, "batch tokens"]
    lengths: Int64[Tensor, " batch"]
    """Tokens before the padding, special tokens included."""
    truncated: Bool[Tensor, " batch"]
    """Whether the text did not fit."""


@runtime_checkable
class TextTokenizer(Protocol):
    """Anything that turns texts into a `TokenBatch` of `context_length` columns."""

    @property
    def context_length(self) -> int:
        """Return the number of columns."""

    @property
    def vocab_size(self) -> int:
        """Return the number of rows an embedding needs."""

    @property
    def pad_id(self) -> int:
        """Return the id that fills the columns after a text."""

    def __call__(self, texts: Sequence[str]) -> TokenBatch:
        """Tokenize the texts, cleaned by `clean_text`."""


def clean_text(text: str) -> str:
    """Repair encodings, unescape HTML and squeeze white space, as open_clip's tokenizers do before tokenizing."""
    if not (text.isascii() and text.isprintable() and "&" not in text):
        import ftfy

        text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return " ".join(text.split())


def hf_tokenizer(folder: str | Path, context_length: int, *, strip_sep_token: bool = False) -> TextTokenizer:
    """Return the Hugging Face tokenizer saved in a folder; `strip_sep_token` pads over [SEP], as Recap-CLIP does.

    Gives the ids of `open_clip.tokenizer.HFTokenizer` of the same folder.
    """
    return HfTextTokenizer(load_hf_tokenizer(folder), context_length, strip_sep_token=strip_sep_token)


def load_hf_tokenizer(folder: str | Path) -> Any:
    """Return the `transformers` tokenizer saved in a folder; raise UserError when there is none."""
    if not (Path(folder) / "tokenizer_config.json").exists():
        raise UserError("folder holds no tokenizer", where=folder, wanted="tokenizer_config.json and tokenizer.json")
    for file in sorted(Path(folder).glob("tokenizer*.json")):
        # The library meets a damaged file with an untyped exception of its own.
        read_object(file)
    # Rust threads and forked loader workers don't mix, and captions are short.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        found = " ".join(str(error).split())
        raise UserError("tokenizer can't be loaded", where=folder, found=found, fix="Write it again") from error


class HfTextTokenizer:
    """Adapt a `transformers` tokenizer."""

    def __init__(self, tokenizer: Any, context_length: int, *, strip_sep_token: bool = False):
        if tokenizer.pad_token_id is None:
            raise UserError("tokenizer has no padding token", where=tokenizer.name_or_path, fix="Give it a pad_token")
        self.context_length = context_length
        self.vocab_size = len(tokenizer)
        self.pad_id: int = tokenizer.pad_token_id
        self._tokenizer = tokenizer
        self._stripped_id: int | None = tokenizer.sep_token_id if strip_sep_token else None

    def __call__(self, texts: Sequence[str]) -> TokenBatch:
        """Tokenize the texts; a text that does not fit keeps its closing token, as in `transformers`."""
        cleaned = [clean_text(text) for text in texts]
        rows: list[list[int]] = self._tokenizer(cleaned)["input_ids"] if cleaned else []
        truncated = [len(row) > self.context_length for row in rows]
        for index, cut in enumerate(truncated):
            if cut:
                encoded = self._tokenizer(cleaned[index], truncation=True, max_length=self.context_length)
                rows[index] = encoded["input_ids"]
        if self._stripped_id is not None:
            rows = [[token for token in row if token != self._stripped_id] for row in rows]
        return _padded(rows, truncated, self.context_length, self.pad_id)


def open_clip_tokenizer(name: str, context_length: int | None = None) -> TextTokenizer:
    """Return the tokenizer of an open_clip model name, hub id or "local-dir:FOLDER"."""
    import open_clip

    options = {} if context_length is None else {"context_length": context_length}
    return OpenClipTextTokenizer(open_clip.get_tokenizer(name, **options))


class OpenClipTextTokenizer:
    """Adapt an open_clip tokenizer, whose own output does not say what was cut off."""

    def __init__(self, tokenizer: Any):
        inner = getattr(tokenizer, "tokenizer", None)
        self.context_length = int(tokenizer.context_length)
        self.vocab_size = len(inner) if inner is not None else int(tokenizer.vocab_size)
        self.pad_id = 0 if inner is None else int(inner.pad_token_id)
        # CLIP's tokenizers in transformers pad with the closing token, whose first occurrence belongs to the text.
        self._closing_pads = int(inner is not None and inner.pad_token_id == inner.eos_token_id)
        self._tokenizer = tokenizer

    def __call__(self, texts: Sequence[str]) -> TokenBatch:
        """Tokenize the texts."""
        ids = self._tokenizer(list(texts), context_length=self.context_length)
        # Given one column more, exactly the texts that did not fit change their last column: the closing token moves.
        wider = self._tokenizer(list(texts), context_length=self.context_length + 1)
        truncated = (wider[:, :-1] != ids).any(dim=1)
        positions = torch.arange(1, self.context_length + 1)
        before_padding = (positions * (ids != self.pad_id)).amax(dim=1)
        lengths = (before_padding + self._closing_pads).clamp(max=self.context_length)
        return TokenBatch(ids, lengths, truncated)


def _padded(rows: Sequence[Sequence[int]], truncated: Sequence[bool], context_length: int, pad_id: int) -> TokenBatch:
    ids = torch.full((len(rows), context_length), pad_id, dtype=torch.int64)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = torch.tensor(row, dtype=torch.int64)
    lengths = torch.tensor([len(row) for row in rows], dtype=torch.int64)
    return TokenBatch(ids, lengths, torch.tensor(truncated, dtype=torch.bool))
