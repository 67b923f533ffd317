"""The tokenizer of a run: trained before its model, taken from a folder, or the one that open_clip brings."""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from string import printable

from clip_train.model_files import ModelFile
from clip_train.presets import ModelPreset
from imagetext.tokenizer_training import train_clip_bpe, train_wordpiece
from imagetext.tokenizers import TextTokenizer, hf_tokenizer, load_hf_tokenizer, open_clip_tokenizer
from runtime.atomic import atomic_directory

_READ_WITH_IT = "ViT-B-32"
"""An open_clip model that reads with it."""


@dataclass(frozen=True, kw_only=True)
class RunTokenizer:
    """A tokenizer and what a model's config must know of it."""

    tokenizer: TextTokenizer
    folder: Path | None
    """Where it lies; None for the one that open_clip brings."""
    end_id: int
    """Id of the token that ends a text."""


def train_tokenizer(folder: Path, preset: ModelPreset | ModelFile, captions: Iterable[str], vocab_size: int) -> None:
    """Train the preset's kind of tokenizer on the captions and an alphabet, into `folder`."""
    train = train_wordpiece if preset.family == "recap" else train_clip_bpe
    alphabet = " ".join(printable.split(maxsplit=1)[0])
    train([*captions, alphabet], vocab_size, folder)


def copy_tokenizer(source: Path, folder: Path) -> None:
    """Copy a tokenizer's files, so that the run folder needs nothing else; raise UserError when there are none."""
    load_hf_tokenizer(source)
    with atomic_directory(folder) as partial:
        for file in sorted(source.iterdir()):
            if file.is_file() and file.suffix in (".json", ".txt", ".model"):
                shutil.copy(file, partial)


def read_tokenizer(folder: Path, context_length: int, *, strip_end: bool = False) -> TextTokenizer:
    """Return the tokenizer with the ids that `open_clip.get_tokenizer` gives for the export."""
    return hf_tokenizer(folder, context_length, strip_sep_token=strip_end)


def open_tokenizer(folder: Path | None, preset: ModelPreset | ModelFile, context_length: int) -> RunTokenizer:
    """Return the tokenizer in a run's folder, or without one OpenAI's."""
    if folder is None:
        tokenizer = open_clip_tokenizer(_READ_WITH_IT, context_length)
        return RunTokenizer(tokenizer=tokenizer, folder=None, end_id=tokenizer.vocab_size - 1)
    special = load_hf_tokenizer(folder)
    end_id = special.eos_token_id if special.sep_token_id is None else special.sep_token_id
    tokenizer = read_tokenizer(folder, context_length, strip_end=preset.strips_end)
    return RunTokenizer(tokenizer=tokenizer, folder=folder, end_id=int(end_id))
