"""Conversation files of any size as sequences: checked once, then read record by record.

The check is one pass over the file, a record in memory at a time. What it finds is kept beside the run under the file's
digest: every later start, and every process of this one, reads that instead.
"""

import json
import os
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
from jaxtyping import Bool, Int32, Int64

from imagetext import files
from imagetext.conversation_files import Conversation, parse_conversation
from imagetext.json_records import PlacedRecord, stream_records
from imagetext.kept_arrays import kept_arrays
from imagetext.picture_store import shard_of
from runtime.errors import UserError
from runtime.progress import Progress

_VERSION = 2
"""Part of an index's name; another number has all files checked anew, by other rules or for other facts."""
_MIB = 1 << 20


@dataclass(frozen=True, kw_only=True, eq=False)
class ConversationIndex:
    """What is known of each record of a file without reading it; 25 bytes a record."""

    offsets: Int64[np.ndarray, " records"]
    """Bytes of the file before the record."""
    sizes: Int32[np.ndarray, " records"]
    """Bytes of the record."""
    num_characters: Int32[np.ndarray, " records"]
    """Characters of all its turns."""
    num_question_bytes: Int32[np.ndarray, " records"]
    """Bytes of its first question."""
    num_answer_words: Int32[np.ndarray, " records"]
    """Words of its answers, none where all are empty."""
    has_image: Bool[np.ndarray, " records"]
    """Whether it is about an image."""
    shards: np.ndarray
    """Shards that the records name pictures in, as paths below the picture folder."""


class ConversationFile(Sequence[Conversation]):
    """The records of one file, each read and parsed when it is asked for."""

    def __init__(self, path: Path, sha256: str, index: ConversationIndex):
        self.path = path
        self.sha256 = sha256
        """Digest of the whole file."""
        self.facts = index
        """What is known of the records without reading them."""
        self._file = path.open("rb")

    def __len__(self) -> int:
        return len(self.facts.offsets)

    @overload
    def __getitem__(self, number: int) -> Conversation: ...

    @overload
    def __getitem__(self, number: slice) -> list[Conversation]: ...

    def __getitem__(self, number: int | slice) -> Conversation | list[Conversation]:
        """Return the record at a place; raise UserError when the file changed since it was opened."""
        if isinstance(number, slice):
            return [self[place] for place in range(*number.indices(len(self)))]
        where = f"{self.path}: record {number}"
        # Read at a place, not from one: forked processes share the file's position.
        data = os.pread(self._file.fileno(), int(self.facts.sizes[number]), int(self.facts.offsets[number]))
        try:
            record = json.loads(data.decode("utf-8"))
        except ValueError as error:
            fix = "Start again: the file will be read anew"
            raise UserError("file changed while it was in use", where=where, found=str(error), fix=fix) from None
        return parse_conversation(record, where)


def open_conversations(path: Path, cache: Path) -> ConversationFile:
    """Open a `.json` or `.jsonl` file; the main process checks it first, where `cache` does not say that it was.

    Raises UserError naming file and record as `read_conversations` does.
    """
    digest = files.sha256(path)
    place = cache / f"{digest}-v{_VERSION}.npz"
    return ConversationFile(path, digest, kept_arrays(place, ConversationIndex, lambda: index_conversations(path)))


def index_conversations(path: Path) -> ConversationIndex:
    """Check every record of a file in one pass and return where each lies.

    Raises UserError for a file that is not JSON or holds no records, and for its first wrong record, with the number of
    those behind it.
    """
    facts, num_wrong = _Facts(), 0
    wrong: UserError | None = None
    for number, placed in enumerate(_shown(stream_records(path), path)):
        try:
            facts.add(placed, parse_conversation(placed.value, f"{path}: record {number}"))
        except UserError as error:
            wrong = wrong or error
            num_wrong += 1
    if wrong is not None:
        raise wrong if num_wrong == 1 else UserError(f"{wrong}; {num_wrong - 1} more of its records are wrong")
    if not facts.offsets:
        raise UserError("file holds no conversations", where=path)
    return facts.index()


class _Facts:
    """An index that grows record by record, without an object for each number."""

    def __init__(self) -> None:
        self.offsets, self.sizes = array("q"), array("i")
        self.num_characters, self.num_question_bytes = array("i"), array("i")
        self.num_answer_words, self.has_image = array("i"), array("b")
        self.shards: set[str] = set()

    def add(self, placed: PlacedRecord, record: Conversation) -> None:
        self.offsets.append(placed.offset)
        self.sizes.append(placed.num_bytes)
        self.num_characters.append(sum(len(turn.text) for turn in record.turns))
        self.num_question_bytes.append(len(record.turns[0].text.encode()))
        self.num_answer_words.append(sum(len(turn.text.split()) for turn in record.turns[1::2]))
        self.has_image.append(record.image is not None)
        if record.image is not None and (shard := shard_of(record.image)) is not None:
            self.shards.add(shard)

    def index(self) -> ConversationIndex:
        return ConversationIndex(
            offsets=np.array(self.offsets, np.int64),
            sizes=np.array(self.sizes, np.int32),
            num_characters=np.array(self.num_characters, np.int32),
            num_question_bytes=np.array(self.num_question_bytes, np.int32),
            num_answer_words=np.array(self.num_answer_words, np.int32),
            has_image=np.array(self.has_image, np.bool_),
            shards=np.array(sorted(self.shards), np.str_),
        )


def _shown(records: Iterator[PlacedRecord], path: Path) -> Iterator[PlacedRecord]:
    """Pass records on and show how far into the file they reach."""
    with Progress(total=path.stat().st_size // _MIB, unit="MiB", label=f"checking {path.name}") as progress:
        done = 0
        for placed in records:
            yield placed
            reached = (placed.offset + placed.num_bytes) // _MIB
            if reached > done:
                progress.advance(reached - done)
                progress.show({})
                done = reached
