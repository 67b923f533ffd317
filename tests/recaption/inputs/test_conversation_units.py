"""LLaVA's conversation files as units: keys, pictures of folders and shards, records that name none."""

import json
import pickle
from pathlib import Path

import pytest

from imagetext.shards import ShardRow, write_shard
from recaption.inputs.conversation_units import ConversationUnit, list_conversation_units
from recaption.inputs.units import InputRow
from runtime.errors import UserError


def record(identity: object, image: object = None, answer: str = "A dog.", **own: object) -> dict[str, object]:
    turns = [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": answer}]
    named = {} if image is None else {"image": image}
    return {"id": identity, **named, "conversations": turns, **own}


def write(path: Path, records: list[dict[str, object]]) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(each, ensure_ascii=False) + "\n\n" for each in records))
    else:
        path.write_text(json.dumps(records, indent=1))
    return path


def listed(path: Path, pictures: Path, rows_per_unit: int = 2) -> list[ConversationUnit]:
    return list_conversation_units(path, pictures, rows_per_unit, path.parent / "cache")


def rows(units: list[ConversationUnit]) -> list[InputRow]:
    return [row for unit in units for row in unit.rows()]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    (folder / "coco").mkdir(parents=True)
    for name in ("a", "b"):
        (folder / "coco" / f"{name}.jpg").write_bytes(name.encode())
    return folder


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_records_are_rows_in_slices(tmp_path: Path, pictures: Path, suffix: str) -> None:
    records = [
        record("one", "coco/a.jpg", "A cat\u2028asleep.", source="web", tags=["x"]),
        record("two", "coco/gone.jpg"),
        record("three"),
        record("four", ["coco/a.jpg", "coco/b.jpg"]),
        record("five", "coco/b.jpg"),
    ]
    units = listed(write(tmp_path / f"talk{suffix}", records), pictures)
    assert [(unit.name, unit.num_rows) for unit in units] == [("00000", 2), ("00001", 2), ("00002", 1)]
    found = rows(units)
    assert [row.key for row in found] == ["one", "two", "three", "four", "five"]
    assert [row.status for row in found] == ["success", "failed_to_read", "no_image", "no_image", "success"]
    assert [row.image for row in found] == [b"a", None, None, None, b"b"]
    assert found[0].caption == "A cat\u2028asleep."
    assert found[0].columns == {"id": "one", "image": "coco/a.jpg", "source": "web", "tags": '["x"]'}
    assert found[1].error_message is not None and "gone.jpg" in found[1].error_message
    assert len({unit.fingerprint() for unit in units}) == 3


def test_shared_or_missing_ids_give_way_to_numbers(tmp_path: Path, pictures: Path) -> None:
    for name, second in (("shared", "x"), ("missing", None)):
        path = write(tmp_path / f"{name}.json", [record("x", "coco/a.jpg"), record(second, "coco/b.jpg")])
        assert [row.key for row in rows(listed(path, pictures, 1))] == [f"{name}.json/0", f"{name}.json/1"]


def test_pictures_of_shards_are_read_also_by_another_process(tmp_path: Path, pictures: Path) -> None:
    shard = [ShardRow(key=f"00000000{index}", image=bytes([65 + index])) for index in range(3)]
    write_shard(pictures / "web", 0, shard)
    path = write(tmp_path / "talk.json", [record("a", "web/00000.tar/000000001"), record("b", "coco/b.jpg")])
    units = pickle.loads(pickle.dumps(listed(path, pictures)))
    assert [(row.image, row.sha256) for row in rows(units)] == [(b"B", None), (b"b", None)]


def test_halves_of_characters_are_no_reason_to_stop(tmp_path: Path, pictures: Path) -> None:
    path = tmp_path / "talk.json"
    path.write_text('[{"id": "\\ud800", "conversations": [{}, {"value": "half \\udc00"}], "note": "\\ud83d"}]')
    [row] = rows(listed(path, pictures))
    assert (row.key, row.caption, row.columns["note"]) == ("?", "half ?", "?")


def test_files_that_are_none_are_named(tmp_path: Path, pictures: Path) -> None:
    with pytest.raises(UserError, match=r"empty\.json: file holds no conversations"):
        listed(write(tmp_path / "empty.json", []), pictures)
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(UserError, match=r"list\.json: record 0: record is no conversation: found int"):
        listed(tmp_path / "list.json", pictures)
    with pytest.raises(UserError, match="folder is missing"):
        listed(write(tmp_path / "talk.json", [record("a", "x.jpg")]), tmp_path / "nowhere")


def test_a_file_that_changed_is_told(tmp_path: Path, pictures: Path) -> None:
    path = write(tmp_path / "talk.json", [record("a", "coco/a.jpg"), record("b", "coco/b.jpg")])
    units = listed(path, pictures, 1)
    path.write_text(path.read_text()[7:])
    with pytest.raises(UserError, match=r"talk\.json: file changed while it was in use"):
        rows(units)
