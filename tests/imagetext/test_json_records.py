"""Records read one by one are those of the whole file, wherever the chunks that are read end."""

import json
import re
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagetext import json_records
from imagetext.json_records import stream_records
from runtime.errors import UserError

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
WHITE_SPACE = st.text(" \t\r\n", max_size=3)
PROFILE = settings(max_examples=200, deadline=None)


def read(path: Path, chunk_bytes: int, monkeypatch: pytest.MonkeyPatch) -> list[json_records.PlacedRecord]:
    monkeypatch.setattr(json_records, "CHUNK_BYTES", chunk_bytes)
    return list(stream_records(path))


@PROFILE
@given(st.lists(VALUES, max_size=5), st.booleans(), st.sampled_from([None, 1]), WHITE_SPACE, st.integers(1, 40))
def test_array_equals_the_library_s_reading(
    tmp_path_factory: pytest.TempPathFactory,
    values: list[object],
    ascii_only: bool,
    indent: int | None,
    space: str,
    chunk_bytes: int,
) -> None:
    path = tmp_path_factory.getbasetemp() / "array.json"
    text = space + json.dumps(values, ensure_ascii=ascii_only, indent=indent) + space
    path.write_bytes(text.encode())
    with pytest.MonkeyPatch.context() as patch:
        records = read(path, chunk_bytes, patch)
    assert [record.value for record in records] == values
    data = path.read_bytes()
    for record in records:
        assert json.loads(data[record.offset : record.offset + record.num_bytes]) == record.value


@PROFILE
@given(st.lists(VALUES, min_size=1, max_size=3), st.data())
def test_what_the_library_refuses_is_refused(
    tmp_path_factory: pytest.TempPathFactory, values: list[object], data: st.DataObject
) -> None:
    text = json.dumps(values)
    place = data.draw(st.integers(0, len(text) - 1))
    damaged = text[:place] + data.draw(st.sampled_from(["", "]", ",", '"', "\x01", "\\u12"])) + text[place + 1 :]
    path = tmp_path_factory.getbasetemp() / "damaged.json"
    path.write_text(damaged)
    try:
        expected = json.loads(damaged)
    except ValueError:
        expected = None
    with pytest.MonkeyPatch.context() as patch:
        if isinstance(expected, list):
            assert [record.value for record in read(path, 7, patch)] == expected
        else:
            with pytest.raises(UserError, match=r"damaged\.json: file is not (JSON|a list of records): found"):
                read(path, 7, patch)


@pytest.mark.parametrize("end", ["", "\n"])
def test_lines_are_records(tmp_path: Path, end: str) -> None:
    values = [{"a": "é\u2028 one line still"}, {}, {"b": [1]}]
    path = tmp_path / "lines.jsonl"
    path.write_bytes(("\n\n".join(json.dumps(value, ensure_ascii=False) for value in values) + end).encode())
    records = list(stream_records(path))
    assert [record.value for record in records] == values
    data = path.read_bytes()
    assert [json.loads(data[record.offset : record.offset + record.num_bytes]) for record in records] == values


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", b"", "file is not JSON: found Expecting value at byte 0, in line 1"),
        ("a.json", b'[{"a": 1},\n {"b" 2}]', "file is not JSON: found Expecting ':' delimiter at byte 17, in line 2"),
        ("a.json", '["é"\n\n 1]'.encode(), "file is not JSON: found Expecting ',' delimiter at byte 8, in line 3"),
        ("a.json", b"[1] [2]", "file is not JSON: found Extra data at byte 4, in line 1"),
        ("a.json", b'["\xff"]', "file is not JSON: found 'utf-8' codec can't decode byte 0xff"),
        (
            "a.json",
            b'{"a": 1}\n{"a": 2}\n',
            "file is not a list of records: found dict. A file of one record a line is called .jsonl",
        ),
        ("a.json", b" 12", "file is not a list of records: found number"),
        ("a.jsonl", b'{"a": 1}\n{"a": \n', "file is not JSON: found Expecting value at byte 14, in line 2"),
        ("a.jsonl", b"{}\n\xff\n", "file is not JSON: found 'utf-8' codec can't decode byte 0xff"),
    ],
)
def test_the_place_of_a_mistake_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=re.escape(f"{name}: {message}")):
        list(stream_records(tmp_path / name))


def test_memory_does_not_grow_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_records, "CHUNK_BYTES", 1 << 16)
    peaks = []
    for num_records in (200, 4000):
        path = tmp_path / f"{num_records}.json"
        path.write_text(json.dumps([{"id": number, "text": "x" * 1000} for number in range(num_records)]))
        tracemalloc.start()
        assert sum(1 for _ in stream_records(path)) == num_records
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0] < 1_000_000
