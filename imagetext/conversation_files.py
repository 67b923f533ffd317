"""LLaVA's conversation files (`.json`: a list of records; `.jsonl`: one a line), read, checked and written."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from imagetext.json_records import stream_records
from runtime.atomic import atomic_path
from runtime.errors import UserError

Role = Literal["user", "assistant"]
IMAGE_TOKEN = "<image>"
_ROLES: dict[str, Role] = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant"}
_SPEAKERS: dict[Role, str] = {"user": "human", "assistant": "gpt"}


@dataclass(frozen=True)
class Turn:
    """Hold what one side says."""

    role: Role
    text: str


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """Hold one record: turns that alternate from the user to the assistant, and at most one image."""

    id: str
    """Name of the record, which several may share: published files number some pictures' conversations alike."""
    turns: tuple[Turn, ...]
    image: str | None = None
    """Name of the image, below the image folder; None for text alone."""


def read_conversations(path: str | Path) -> list[Conversation]:
    """Return the records of a `.json` or `.jsonl` file.

    Raises UserError as `parse_conversation` does, for a file that is not JSON, and for one without records.
    """
    records = list(_stream_conversations(path))
    if not records:
        raise UserError("file holds no conversations", where=path)
    return records


def parse_conversation(record: object, where: str) -> Conversation:
    """Return the conversation that a record of a file holds.

    An answer before the first question and a question after the last answer are left out, as LLaVA's trainer leaves
    them: published files hold conversations cut out of longer ones. They hold empty answers too, which stay.

    Raises:
        UserError: naming `where` and the record's id when a record has no id or turns, does not alternate from human to
            gpt, or does not hold `<image>` exactly once, in a human turn, when it has an image.
    """
    if not isinstance(record, dict) or not isinstance(record.get("conversations"), list):
        raise UserError("record is no conversation", where=where, wanted='an object with a list "conversations"')
    identity = record.get("id")
    if identity is None:
        raise UserError("record has no id", where=where)
    where = f"{where} ({identity})"
    turns = tuple(_turn(turn, where) for turn in record["conversations"])
    conversation = Conversation(id=str(identity), turns=_answered(turns, where), image=_image(record, where))
    _check(conversation, where)
    return conversation


def write_conversations(path: Path, records: Iterable[Conversation]) -> None:
    """Write records as LLaVA JSON, whole or not at all; they are taken one by one."""
    with atomic_path(path) as partial, partial.open("w", encoding="utf-8") as file:
        opening = "["
        for record in records:
            text = json.dumps(_to_json(record), indent=1, ensure_ascii=False)
            file.write(f"{opening}\n {text.replace(chr(10), chr(10) + ' ')}")
            opening = ","
        file.write("[]\n" if opening == "[" else "\n]\n")


def _stream_conversations(path: str | Path) -> Iterator[Conversation]:
    for number, placed in enumerate(stream_records(path)):
        yield parse_conversation(placed.value, f"{path}: record {number}")


def _turn(turn: object, where: str) -> Turn:
    if not isinstance(turn, dict) or not isinstance(text := turn.get("value"), str):
        raise UserError("turn is malformed", where=where, found=turn, wanted='{"from": ..., "value": text}')
    role = _ROLES.get(str(turn.get("from")))
    if role is None:
        found = str(turn.get("from"))
        raise UserError("unknown speaker", where=where, found=found, wanted=f"one of {', '.join(_ROLES)}")
    if _has_half_characters(text):
        raise UserError("turn holds half of a surrogate pair, which is no text", where=where, found=ascii(text[:80]))
    return Turn(role, text)


def _has_half_characters(text: str) -> bool:
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _answered(turns: tuple[Turn, ...], where: str) -> tuple[Turn, ...]:
    """Return the turns from the first question to the last answer; raise UserError unless they alternate."""
    first = 1 if turns and turns[0].role == "assistant" else 0
    last = len(turns) - 1 if turns and turns[-1].role == "user" else len(turns)
    answered = turns[first:last]
    if not answered or any(turn.role != ("user", "assistant")[index % 2] for index, turn in enumerate(answered)):
        found = [_SPEAKERS[turn.role] for turn in turns]
        raise UserError("turns do not alternate", where=where, found=found, wanted="human, gpt, human, gpt, ...")
    return answered


def _image(record: dict[str, object], where: str) -> str | None:
    image = record.get("image")
    if image is not None and (not isinstance(image, str) or not image or _has_half_characters(image)):
        raise UserError("image is no name", where=where, found=image, wanted="the name of one file, or no image at all")
    return image


def _check(conversation: Conversation, where: str) -> None:
    in_questions = sum(turn.text.count(IMAGE_TOKEN) for turn in conversation.turns[::2])
    in_answers = sum(turn.text.count(IMAGE_TOKEN) for turn in conversation.turns[1::2])
    wanted = 0 if conversation.image is None else 1
    if in_questions != wanted or in_answers:
        found = f"{in_questions} in human turns, {in_answers} in answers"
        raise UserError(f"wrong number of {IMAGE_TOKEN}", where=where, found=found, wanted=f"{wanted} and 0")


def _to_json(record: Conversation) -> dict[str, object]:
    image = {} if record.image is None else {"image": record.image}
    turns = [{"from": _SPEAKERS[turn.role], "value": turn.text} for turn in record.turns]
    return {"id": record.id, **image, "conversations": turns}
