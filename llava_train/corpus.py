"""What a run reads: conversations, their pictures, and the tokenizer learned from them."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import overload

import numpy as np
from jaxtyping import Int64
from transformers import PreTrainedTokenizerBase

from imagetext.conversation_index import ConversationFile, open_conversations
from imagetext.conversations import PAPER_PROMPT, Conversation
from imagetext.picture_index import open_pictures_of_shards
from imagetext.picture_store import PictureStore
from imagetext.tokenizer_training import train_llama_bpe
from imagetext.tokenizers import load_hf_tokenizer
from llava_train.config import FineTuneConfig, PhaseName
from runtime.errors import UserError
from runtime.launch import have_made_once
from runtime.run import CACHE


class PhaseConversations(Sequence[Conversation]):
    """The conversations of one phase: its files one after another, each record read when it is asked for."""

    def __init__(self, files: Sequence[ConversationFile], weights: Sequence[float] | None = None):
        """Take the files and how often an epoch reads each, once where nothing is said."""
        self.files = files
        self.weights = [1.0] * len(files) if weights is None else list(weights)
        self._starts = np.cumsum([0, *map(len, files)])
        self.num_characters = np.concatenate([file.facts.num_characters for file in files])
        """Characters of each conversation."""
        self.num_question_bytes = np.concatenate([file.facts.num_question_bytes for file in files])
        """Bytes of each conversation's first question."""
        self.num_answer_words = np.concatenate([file.facts.num_answer_words for file in files])
        """Words of each conversation's answers."""
        self.has_image = np.concatenate([file.facts.has_image for file in files])
        """Whether each conversation is about an image."""

    def __len__(self) -> int:
        return int(self._starts[-1])

    @overload
    def __getitem__(self, number: int) -> Conversation: ...

    @overload
    def __getitem__(self, number: slice) -> list[Conversation]: ...

    def __getitem__(self, number: int | slice) -> Conversation | list[Conversation]:
        """Return the conversation at a place."""
        if isinstance(number, slice):
            return [self[place] for place in range(*number.indices(len(self)))]
        place = range(len(self))[number]
        file = int(np.searchsorted(self._starts, place, side="right")) - 1
        return self.files[file][place - int(self._starts[file])]

    def spread(self, num_conversations: int) -> range:
        """Return the places of at most so many conversations from all over the files; all where there are no more."""
        return range(0, len(self), -(-len(self) // num_conversations))

    def samples(self, file: int) -> Int64[np.ndarray, " records"]:
        """Return the places of one file's conversations."""
        return np.arange(self._starts[file], self._starts[file + 1])


Corpus = Mapping[PhaseName, PhaseConversations]
"""The conversations of each phase."""


def read_corpus(config: FineTuneConfig) -> Corpus:
    """Open every phase's conversations, each file once; what is found out about them is kept beside the run.

    Raises UserError for a missing file or a wrong record.
    """
    opened: dict[str, ConversationFile] = {}
    for name in config.phases:
        for file_name in config.phase(name).conversations:
            if file_name not in opened:
                opened[file_name] = _open(config, name, file_name)
    return {name: _phase(config, name, opened) for name in config.phases}


def files_of(corpus: Corpus) -> list[ConversationFile]:
    """Return the files of all phases, each once."""
    return list({file.path: file for conversations in corpus.values() for file in conversations.files}.values())


def open_pictures(config: FineTuneConfig, files: Iterable[ConversationFile]) -> PictureStore:
    """Return the pictures that conversations name: files of the image folder, and members of shards in it.

    Raises UserError for an unfinished or damaged shard.
    """
    folder = config.data / config.image_folder
    named = {str(shard) for file in files for shard in file.facts.shards}
    # Without the stats of a single shard, what lies there are archives of another kind.
    own = folder.glob("*.tar") if any(folder.glob("*_stats.json")) else ()
    tars = named | {path.name for path in own}
    return PictureStore(folder, open_pictures_of_shards(folder, tars, config.output_dir / CACHE) if tars else None)


def prepare_tokenizer(folder: Path, corpus: Corpus, vocab_size: int) -> PreTrainedTokenizerBase:
    """Load the run's tokenizer, training it on the corpus first when the folder is not there yet.

    The main process trains it and the others wait; they raise UserError when it does not come in good time.
    """
    have_made_once(folder, lambda: train_llama_bpe(_texts(corpus), vocab_size, folder))
    return load_hf_tokenizer(folder)


def _open(config: FineTuneConfig, phase: PhaseName, file_name: str) -> ConversationFile:
    path = config.data / file_name
    if not path.exists():
        raise UserError(f"no conversations for phase {phase}", where=path, found="no such file")
    return open_conversations(path, config.output_dir / CACHE)


def _phase(config: FineTuneConfig, name: PhaseName, opened: Mapping[str, ConversationFile]) -> PhaseConversations:
    phase = config.phase(name)
    return PhaseConversations([opened[file_name] for file_name in phase.conversations], phase.weights)


def _texts(corpus: Corpus) -> Iterable[str]:
    yield PAPER_PROMPT
    for records in corpus.values():
        for record in records:
            yield from (turn.text for turn in record.turns)
