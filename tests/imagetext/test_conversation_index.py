"""A file opened through its index says what a file read whole says, and is checked once."""

import json
import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from imagetext import conversation_index
from imagetext.conversation_index import ConversationFile, open_conversations
from imagetext.conversations import read_conversations
from runtime import launch
from runtime.errors import UserError


def record(number: int | str, *turns: str, **fields: object) -> dict[str, Any]:
    speakers = ("human", "gpt")
    said = [{"from": speakers[place % 2], "value": text} for place, text in enumerate(turns)]
    return {"id": number, **fields, "conversations": said}


# As in the published files: numbers and texts as ids, one id twice, records without image, fields of other tools.
PUBLISHED = [
    record("000000033471", "<image>\nWhat colour?", "Red.", "And it?", "Blue é.", image="coco/train2017/1.jpg"),
    record(33471, "What is it?\n<image>", "A boat on the sea", image="gqa/images/2.jpg"),
    record("000000033471", "<image>\nAgain?", "Yes", image="coco/train2017/1.jpg"),
    {**record("wgByO4Y_0", "Write a poem.", "Roses 🌹 are\nred"), "model": ""},
    record("shard", "<image>", "From a shard.", image="web/00012.tar/000120007"),
    record("silent", "Ünd?", " "),
]


@pytest.fixture(params=["json", "indented json", "jsonl"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "jsonl":
        found = tmp_path / "a.jsonl"
        found.write_text("\n".join(json.dumps(one, ensure_ascii=False) for one in PUBLISHED) + "\n")
    else:
        found = tmp_path / "a.json"
        found.write_text(json.dumps(PUBLISHED, indent=2 if "indented" in request.param else None))
    return found


def test_records_are_those_of_the_file_read_whole(path: Path, tmp_path: Path) -> None:
    opened, whole = open_conversations(path, tmp_path / "cache"), read_conversations(path)
    assert len(opened) == len(whole) == 6
    assert list(opened) == whole == opened[:]
    assert opened[3] == whole[3] and opened[-1] == whole[-1] and opened[1:4:2] == whole[1:4:2]
    assert [one.id for one in opened] == ["000000033471", "33471", "000000033471", "wgByO4Y_0", "shard", "silent"]
    with pytest.raises(IndexError):
        opened[6]


def test_index_tells_lengths_and_images_without_reading(path: Path, tmp_path: Path) -> None:
    opened = open_conversations(path, tmp_path / "cache")
    index, whole = opened.facts, read_conversations(path)
    assert index.num_characters.tolist() == [sum(len(turn.text) for turn in one.turns) for one in whole]
    assert index.num_question_bytes.tolist() == [20, 19, 14, 13, 7, 5]
    assert index.num_answer_words.tolist() == [3, 5, 1, 4, 3, 0]
    assert index.has_image.tolist() == [True, True, True, False, True, False]
    assert index.shards.tolist() == ["web/00012.tar"]


def test_a_second_start_checks_nothing_again(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = open_conversations(path, tmp_path / "cache")
    monkeypatch.setattr(conversation_index, "stream_records", lambda _: pytest.fail("read again"))
    assert list(open_conversations(path, tmp_path / "cache")) == list(first)
    os.utime(path, (1, 1))
    moved = path.rename(tmp_path / f"moved{path.suffix}")
    assert list(open_conversations(moved, tmp_path / "cache")) == list(first), "the content counts, not place or time"


def test_another_content_of_equal_size_and_time_is_another_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for answer in ("Red", "Sea"):
        path.write_text(json.dumps([record(1, "Hi", answer)]))
        os.utime(path, (1, 1))
        assert open_conversations(path, tmp_path / "cache")[0].turns[1].text == answer


def test_other_processes_take_the_main_one_s_index(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_conversations(path, tmp_path / "cache")
    monkeypatch.setattr(launch, "is_main_process", lambda: False)
    assert len(open_conversations(path, tmp_path / "cache")) == 6
    monkeypatch.setattr(launch, "PATIENCE_SECONDS", 0.1)
    with pytest.raises(UserError, match="the main process has not made this"):
        open_conversations(path, tmp_path / "elsewhere")


def _read_all(opened_for: tuple[str, str]) -> list[str]:
    return [one.id for one in _OPENED[opened_for[0]]] * int(opened_for[1])


_OPENED: dict[str, ConversationFile] = {}


def test_forked_processes_do_not_disturb_each_other(path: Path, tmp_path: Path) -> None:
    _OPENED["file"] = open_conversations(path, tmp_path / "cache")
    ids = [one.id for one in _OPENED["file"]]
    with ProcessPoolExecutor(3, mp_context=get_context("fork")) as pool:
        assert list(pool.map(_read_all, [("file", "1")] * 30)) == [ids] * 30


def test_the_first_wrong_record_is_named_and_the_others_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    wrong = [record(7, "Hi"), record(8, "Hi", "Hi", image="a.jpg"), {"id": 9}]
    path.write_text(json.dumps([*PUBLISHED, *wrong]))
    with pytest.raises(UserError) as refusal:
        open_conversations(path, tmp_path / "cache")
    assert str(refusal.value) == (
        f"{path}: record 6 (7): turns do not alternate: found ['human'], wanted human, gpt, human, gpt, ...; "
        "2 more of its records are wrong"
    )
    assert not list((tmp_path / "cache").glob("*"))


def test_a_file_that_changes_under_training_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(PUBLISHED))
    opened = open_conversations(path, tmp_path / "cache")
    path.write_text("[]")
    with pytest.raises(UserError, match=r"a\.json: record 2: file changed while it was in use"):
        opened[2]


def test_a_damaged_index_is_named(path: Path, tmp_path: Path) -> None:
    open_conversations(path, tmp_path / "cache")
    [place] = (tmp_path / "cache").iterdir()
    place.write_bytes(place.read_bytes()[:100])
    with pytest.raises(UserError, match=rf"{place.name}: kept arrays are damaged.*Remove it"):
        open_conversations(path, tmp_path / "cache")
