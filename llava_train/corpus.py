"""What a run reads: conversations whose pictures are there, and the tokenizer learned from them."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from imagetext.conversations import PAPER_PROMPT, Conversation, read_conversations
from imagetext.tokenizer_training import train_llama_bpe
from imagetext.tokenizers import load_hf_tokenizer
from llava_train.config import FineTuneConfig, PhaseName
from runtime.errors import UserError
from runtime.launch import have_made_once

Corpus = Mapping[PhaseName, Sequence[Conversation]]
"""The conversations of each phase."""


def read_corpus(config: FineTuneConfig) -> Corpus:
    """Read every phase's conversations; raises UserError for a missing file or a picture that is not there."""
    return {name: _read_phase(config, name) for name in config.phases}


def prepare_tokenizer(folder: Path, corpus: Corpus, vocab_size: int) -> PreTrainedTokenizerBase:
    """Load the run's tokenizer, training it on the corpus first when the folder is not there yet.

    The main process trains it and the others wait; they raise UserError when it does not come in good time.
    """
    have_made_once(folder, lambda: train_llama_bpe(_texts(corpus), vocab_size, folder))
    return load_hf_tokenizer(folder)


def _read_phase(config: FineTuneConfig, name: PhaseName) -> list[Conversation]:
    records: list[Conversation] = []
    for file_name in config.phase(name).conversations:
        path = config.data / file_name
        if not path.exists():
            raise UserError(f"no conversations for phase {name}", where=path, found="no such file")
        records += read_conversations(path)
    folder = config.data / config.image_folder
    missing = next((record for record in records if record.image and not (folder / record.image).exists()), None)
    if missing is not None:
        raise UserError(f"the picture of conversation {missing.id!r} is missing", where=folder / str(missing.image))
    return records


def _texts(corpus: Corpus) -> Iterable[str]:
    yield PAPER_PROMPT
    for records in corpus.values():
        for record in records:
            yield from (turn.text for turn in record.turns)
