"""LLaVA's conversation files (`.json`: a list of records; `.jsonl`: one a line), read, checked and written."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from imagetext import files
from runtime.atomic import write_text
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
    turns: tuple[Turn, ...]
    image: str | None = None
    """Path of the image relative to the image folder; None for text alone."""


def read_conversations(path: str | Path) -> list[Conversation]:
    """Return the records of a `.json` or `.jsonl` file.

    Raises:
        UserError: naming file and record when a record has no id or turns, does not alternate from human to gpt, or
            does not hold `<image>` exactly once, in a human turn, when it has an image.
    """
    records = _raw_records(path)
    if not records:
        raise UserError("file holds no conversations", where=path)
    return [_parse(record, f"{path}: record {index}") for index, record in enumerate(records)]


def write_conversations(path: Path, records: Iterable[Conversation]) -> None:
    """Write records as LLaVA JSON, whole or not at all."""
    write_text(path, json.dumps([_to_json(record) for record in records], indent=1, ensure_ascii=False) + "\n")


def _raw_records(path: str | Path) -> list[object]:
    text = files.read_bytes(path).decode("utf-8")
    try:
        if str(path).endswith(".jsonl"):
            return [json.loads(line) for line in text.splitlines() if line.strip()]
        records = json.loads(text)
    except ValueError as error:
        raise UserError("file is not JSON", where=path, found=str(error)) from None
    if not isinstance(records, list):
        raise UserError("file is not a list of records", where=path, found=type(records).__name__)
    return records


def _parse(record: object, where: str) -> Conversation:
    if not isinstance(record, Mapping) or not isinstance(record.get("conversations"), list):
        raise UserError("record is no conversation", where=where, wanted='an object with a list "conversations"')
    identity = record.get("id")
    if identity is None:
        raise UserError("record has no id", where=where)
    image = record.get("image")
    conversation = Conversation(
        id=str(identity),
        turns=tuple(_turn(turn, f"{where} ({identity})") for turn in record["conversations"]),
        image=None if image is None else str(image),
    )
    _check(conversation, f"{where} ({identity})")
    return conversation


def _turn(turn: object, where: str) -> Turn:
    if not isinstance(turn, Mapping) or not isinstance(turn.get("value"), str):
        raise UserError("turn is malformed", where=where, found=turn, wanted='{"from": ..., "value": text}')
    speaker = str(turn.get("from"))
    if speaker not in _ROLES:
        raise UserError("unknown speaker", where=where, found=speaker, wanted=f"one of {', '.join(_ROLES)}")
    return Turn(_ROLES[speaker], turn["value"])


def _check(conversation: Conversation, where: str) -> None:
    roles = [turn.role for turn in conversation.turns]
    expected = ["user", "assistant"] * (len(roles) // 2)
    if not roles or roles != expected:
        found = [_SPEAKERS[role] for role in roles]
        raise UserError("turns do not alternate", where=where, found=found, wanted="human, gpt, human, gpt, ...")
    counts = {
        role: sum(turn.text.count(IMAGE_TOKEN) for turn in conversation.turns if turn.role == role)
        for role in _SPEAKERS
    }
    wanted = 0 if conversation.image is None else 1
    if counts["user"] != wanted or counts["assistant"]:
        found_counts = f"{counts['user']} in human turns, {counts['assistant']} in answers"
        raise UserError(f"wrong number of {IMAGE_TOKEN}", where=where, found=found_counts, wanted=f"{wanted} and 0")
    if not all(turn.text.strip() for turn in conversation.turns if turn.role == "assistant"):
        raise UserError("answer is empty", where=where)


def _to_json(record: Conversation) -> dict[str, object]:
    image = {} if record.image is None else {"image": record.image}
    turns = [{"from": _SPEAKERS[turn.role], "value": turn.text} for turn in record.turns]
    return {"id": record.id, **image, "conversations": turns}
