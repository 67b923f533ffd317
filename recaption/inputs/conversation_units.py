"""Units of LLaVA's conversation files: slices of the records, whose pictures lie in a folder or in shards in it.

A record that speaks of no picture is a row too, and says so. What a lone answer says is the original caption.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagetext import files
from imagetext.decode import DecodeError
from imagetext.json_records import PlacedRecord, stream_records
from imagetext.picture_index import open_pictures_of_shards
from imagetext.picture_store import PictureStore, shard_of
from recaption.inputs.units import NO_IMAGE, SUCCESS, UNREADABLE, InputRow
from runtime.errors import UserError

if TYPE_CHECKING:
    import pyarrow


@dataclass(frozen=True)
class NamedPictures:
    """Where the pictures lie that records name."""

    folder: Path
    tars: tuple[str, ...]
    """Shards below the folder that records name pictures in, or that the folder itself holds."""
    cache: Path
    """Folder for the shards' index."""


@dataclass(frozen=True)
class ConversationUnit:
    """Some records of one file, one after another."""

    name: str
    path: Path
    first_record: int
    num_rows: int
    span: tuple[int, int]
    """Bytes of the file before the first record, and before the end of the last."""
    ids_are_keys: bool
    """Whether each record of the file has an id of its own."""
    pictures: NamedPictures

    def count_rows(self) -> int:
        """Return the number of records."""
        return self.num_rows

    def fingerprint(self) -> str:
        """Return a digest of the records' text."""
        return hashlib.sha256(self._text()).hexdigest()

    def column_types(self) -> "Mapping[str, pyarrow.DataType]":
        """Return nothing: records declare no types."""
        return {}

    def keys(self) -> list[str]:
        """Return the ids, or, where some are missing or shared, the file's name and the number of each record."""
        return [self._key(number, record) for number, record in enumerate(self._records())]

    def rows(self) -> Iterator[InputRow]:
        """Yield the records; a picture that is not there becomes a row that says so."""
        store = _store(self.pictures)
        for number, record in enumerate(self._records()):
            row = InputRow(key=self._key(number, record), image=None, caption=_caption(record), columns=_own(record))
            yield _with_picture(row, record.get("image"), store, recorded=bool(self.pictures.tars))

    def _key(self, number: int, record: Mapping[str, Any]) -> str:
        return _whole(str(record["id"])) if self.ids_are_keys else f"{self.path.name}/{self.first_record + number}"

    def _records(self) -> list[dict[str, Any]]:
        text = self._text().decode("utf-8")
        try:
            found = _of_lines(text) if self.path.suffix == ".jsonl" else json.loads(f"[{text}]")
        except ValueError as error:
            fix = "Start again: the file will be read anew"
            raise UserError("file changed while it was in use", where=self.path, found=str(error), fix=fix) from None
        return [record for record in found if isinstance(record, dict)]

    def _text(self) -> bytes:
        start, end = self.span
        with self.path.open("rb") as file:
            file.seek(start)
            return file.read(end - start)


def list_conversation_units(path: Path, pictures: Path, rows_per_unit: int, cache: Path) -> list[ConversationUnit]:
    """Return the records of a `.json` or `.jsonl` file in slices; the file is read once.

    Raises:
        UserError: for a file that is missing, not JSON, or without records; for a record that is no object; for shards
            of pictures that are missing or damaged.
    """
    named = NamedPictures(pictures, (), cache)
    units: list[ConversationUnit] = []
    ids, num_records, tars = set[bytes](), 0, set[str]()
    for record in stream_records(path):
        value = _checked(record, path, num_records)
        ids.add(_digest(value.get("id")))
        if isinstance(image := value.get("image"), str) and (tar := shard_of(image)) is not None:
            tars.add(tar)
        if num_records % rows_per_unit == 0:
            span = (record.offset, record.offset)
            units.append(ConversationUnit(f"{len(units):05d}", path, num_records, 0, span, False, named))
        end = record.offset + record.num_bytes
        units[-1] = replace(units[-1], num_rows=units[-1].num_rows + 1, span=(units[-1].span[0], end))
        num_records += 1
    if not units:
        raise UserError("file holds no conversations", where=path)
    distinct = len(ids) == num_records and _digest(None) not in ids
    named = replace(named, tars=_tars(pictures, tars))
    _store(named)
    return [replace(unit, ids_are_keys=distinct, pictures=named) for unit in units]


def _checked(record: PlacedRecord, path: Path, number: int) -> dict[str, Any]:
    if not isinstance(record.value, dict):
        found = type(record.value).__name__
        raise UserError("record is no conversation", where=f"{path}: record {number}", found=found, wanted="an object")
    return record.value


def _digest(identity: object) -> bytes:
    """Return eight bytes for an id: a set of them holds a file of millions of records."""
    return hashlib.blake2b(repr(identity).encode("utf-8", "surrogatepass"), digest_size=8).digest()


def _tars(folder: Path, named: set[str]) -> tuple[str, ...]:
    names = files.list_names(folder)
    # Without the stats of a single shard, what lies there are archives of another kind.
    own = [name for name in names if name.endswith(".tar")] if any(n.endswith("_stats.json") for n in names) else []
    return tuple(sorted({*named, *own}))


@lru_cache(maxsize=2)
def _store(pictures: NamedPictures) -> PictureStore:
    """Open the pictures, once a process; their shards' index is made where it is not there yet."""
    if not pictures.tars:
        return PictureStore(pictures.folder)
    return PictureStore(pictures.folder, open_pictures_of_shards(pictures.folder, pictures.tars, pictures.cache))


def _with_picture(row: InputRow, name: object, store: PictureStore, *, recorded: bool) -> InputRow:
    """Return a row with its picture. What a shard holds is not what was downloaded: its digest is not told."""
    if not isinstance(name, str) or not name:
        what = "the record names no picture" if name is None else f"not one picture but {json.dumps(name)}"
        return replace(row, status=NO_IMAGE, error_message=what)
    try:
        image = store.read(name)
    except (DecodeError, OSError) as error:
        return replace(row, status=UNREADABLE, error_message=str(error))
    return replace(row, image=image, status=SUCCESS, sha256=None if recorded else hashlib.sha256(image).hexdigest())


def _caption(record: Mapping[str, Any]) -> str | None:
    turns = record.get("conversations")
    if not isinstance(turns, Sequence) or len(turns) != 2 or not isinstance(turns[1], Mapping):
        return None
    answer = turns[1].get("value")
    return _whole(answer) if isinstance(answer, str) else None


def _own(record: Mapping[str, Any]) -> dict[str, object]:
    """Return what a record says beside its conversation; what is nested becomes JSON text."""
    return {_whole(name): _flat(value) for name, value in record.items() if name != "conversations"}


def _flat(value: object) -> object:
    if isinstance(value, dict | list):
        return json.dumps(value)
    return _whole(value) if isinstance(value, str) else value


def _of_lines(text: str) -> list[Any]:
    # Not splitlines, which parts a text also where it holds U+2028.
    return [json.loads(line) for line in text.split("\n") if line.strip()]


def _whole(text: str) -> str:
    """Return a text without halves of surrogate pairs, which JSON can hold and UTF-8 can't."""
    return text.encode("utf-8", "replace").decode()
