"""The records of a JSON file, one at a time, each with its place: a file is never held whole, however large it is."""

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from imagetext import files
from runtime.errors import UserError

CHUNK_BYTES = 1 << 22
"""Bytes read at once; a record longer than that is read in steps that double."""
_LONGEST_TOKEN = 16
"""Characters of JSON's longest token but text: an error that far before the end of what was read is no cut-off one."""
_DECODER = json.JSONDecoder()
_WHITE_SPACE = re.compile(r"[ \t\n\r]*")
_KINDS = {"{": "dict", '"': "str", "t": "bool", "f": "bool", "n": "None"} | dict.fromkeys("-0123456789", "number")


class PlacedRecord(NamedTuple):
    """One record and the bytes of the file that hold it."""

    offset: int
    """Bytes before it."""
    num_bytes: int
    """Its own bytes."""
    value: object
    """What it says."""


def stream_records(location: str | Path) -> Iterator[PlacedRecord]:
    """Yield the records of a `.jsonl` file, one a line, or of any other, one JSON array.

    Raises:
        UserError: naming the byte and the line where the file stops being JSON; for a file that is no array.
    """
    with files.open_binary(location) as file:
        yield from _lines(file, location) if str(location).endswith(".jsonl") else _ArrayText(file, location).records()


def _lines(file: BinaryIO, location: str | Path) -> Iterator[PlacedRecord]:
    offset = 0
    for number, line in enumerate(file, start=1):
        if line.strip():
            try:
                value = json.loads(line.decode("utf-8").rstrip())
            except UnicodeDecodeError as error:
                raise UserError("file is not JSON", where=location, found=f"{error}, in line {number}") from None
            except json.JSONDecodeError as error:
                byte = offset + len(error.doc[: error.pos].encode())
                found = f"{error.msg} at byte {byte}, in line {number}"
                raise UserError("file is not JSON", where=location, found=found) from None
            yield PlacedRecord(offset, len(line), value)
        offset += len(line)


class _ArrayText:
    """The text of a JSON array, of which little more than one record is in memory."""

    def __init__(self, file: BinaryIO, location: str | Path):
        self._file = file
        self._location = location
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._text = ""
        self._ended = False
        # What is done with: characters of the text, bytes of the file, and line ends before the text.
        self._position = 0
        self._offset = 0
        self._num_lines = 0

    def records(self) -> Iterator[PlacedRecord]:
        """Yield the array's records; raise UserError where it is none."""
        self._open()
        if self._peek() != "]":
            yield self._record()
            while self._peek() == ",":
                self._advance(self._position + 1)
                yield self._record()
        if self._peek() != "]":
            raise self._not_json("Expecting ',' delimiter", self._position)
        self._advance(self._position + 1)
        if self._peek():
            raise self._not_json("Extra data", self._position)

    def _open(self) -> None:
        first = self._peek()
        if first in _KINDS:
            fix = "A file of one record a line is called .jsonl" if first == "{" else None
            raise UserError("file is not a list of records", where=self._location, found=_KINDS[first], fix=fix)
        if first != "[":
            raise self._not_json("Expecting value", self._position)
        self._advance(self._position + 1)

    def _record(self) -> PlacedRecord:
        self._peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._position)
            except json.JSONDecodeError as error:
                if self._ended or self._is_broken(error):
                    raise self._not_json(error.msg, error.pos) from None
            else:
                # What looks like a number may be the beginning of a longer one, cut off behind "." or "e+".
                if end < len(self._text) - 2 or self._ended:
                    offset = self._offset
                    self._advance(end)
                    return PlacedRecord(offset, self._offset - offset, value)
            self._read_more()

    def _is_broken(self, error: json.JSONDecodeError) -> bool:
        """Tell whether more text would not mend an error."""
        return error.pos < len(self._text) - _LONGEST_TOKEN and not error.msg.startswith("Unterminated string")

    def _peek(self) -> str:
        """Return the next character that is no white space, without moving over it; an empty text at the end."""
        while True:
            found = _WHITE_SPACE.match(self._text, self._position)
            assert found is not None, "no white space is white space too"
            self._advance(found.end())
            if self._position < len(self._text):
                return self._text[self._position]
            if self._ended:
                return ""
            self._read_more()

    def _advance(self, position: int) -> None:
        # Of ASCII text, which is known at once, nothing has to be encoded to be counted.
        whole = self._text.isascii()
        passed = position - self._position if whole else len(self._text[self._position : position].encode())
        self._offset += passed
        self._position = position

    def _read_more(self) -> None:
        self._num_lines += self._text.count("\n", 0, self._position)
        rest = self._text[self._position :]
        data = self._file.read(max(CHUNK_BYTES, len(rest)))
        try:
            self._text = rest + self._decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            raise UserError("file is not JSON", where=self._location, found=f"{error}, no UTF-8") from None
        self._position = 0
        self._ended = not data

    def _not_json(self, what: str, position: int) -> UserError:
        byte = self._offset + len(self._text[self._position : position].encode())
        line = self._num_lines + self._text.count("\n", 0, position) + 1
        return UserError("file is not JSON", where=self._location, found=f"{what} at byte {byte}, in line {line}")
