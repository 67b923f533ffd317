"""The tokenizer that a run trains before its model, read as open_clip will read it from the export."""

from collections.abc import Iterable
from pathlib import Path
from string import printable

from clip_train.presets import ModelPreset
from imagetext.tokenizer_training import train_clip_bpe, train_wordpiece
from imagetext.tokenizers import TextTokenizer, hf_tokenizer


def train_tokenizer(folder: Path, preset: ModelPreset, captions: Iterable[str], vocab_size: int) -> None:
    """Train the preset's kind of tokenizer on the captions and an alphabet, into `folder`."""
    train = train_wordpiece if preset.family == "recap" else train_clip_bpe
    alphabet = " ".join(printable.split(maxsplit=1)[0])
    train([*captions, alphabet], vocab_size, folder)


def read_tokenizer(folder: Path, context_length: int) -> TextTokenizer:
    """Return the tokenizer with the ids that `open_clip.get_tokenizer` gives for the export."""
    return hf_tokenizer(folder, context_length)
