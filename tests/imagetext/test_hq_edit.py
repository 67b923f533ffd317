"""HQ-Edit becomes conversations about its own pictures; what is unusable is counted, a kill loses nothing."""

import json
import sys
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from imagetext import hq_edit
from imagetext.__main__ import main
from imagetext.conversations import PAPER_PROMPT, Turn, read_conversations
from imagetext.hq_edit import convert
from imagetext.picture_index import open_pictures_of_shards
from imagetext.picture_store import PictureStore
from imagetext.shards import ShardRow
from runtime.errors import UserError
from tests.imagetext.pictures import encoded, picture


def published(path: Path, rows: list[dict[str, object]]) -> Path:
    """Write rows as the data set is published: images as structs of bytes and path."""
    image = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    kinds = {name: pyarrow.string() for name in ("input", "edit", "inverse_edit", "output")}
    schema = pyarrow.schema({"input_image": image, "output_image": image, **kinds})
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema=schema), path, row_group_size=3)
    return path


def pair(number: int, **changes: object) -> dict[str, object]:
    sides = [encoded(picture(2 * number + side), ("JPEG", "PNG")[side]) for side in (0, 1)]
    row: dict[str, object] = {
        "input_image": {"bytes": sides[0], "path": None},
        "input": f" A picture {number} before. ",
        "edit": "Change it",
        "inverse_edit": "Change it back",
        "output_image": {"bytes": sides[1], "path": None},
        "output": f"A picture {number} after.",
    }
    return {**row, **changes}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    published(tmp_path / "hq" / "data" / "train-00000-of-00002.parquet", [pair(number) for number in range(7)])
    damaged = [
        pair(7, input_image={"bytes": b"no picture", "path": None}),
        pair(8, input_image=None),
        pair(9, output="  "),
        pair(10, output=None, input="An <image> in words"),
    ]
    published(tmp_path / "hq" / "data" / "train-00001-of-00002.parquet", damaged)
    return tmp_path / "hq"


def test_each_picture_gets_its_own_description(source: Path, tmp_path: Path) -> None:
    statuses = convert(source, tmp_path / "out")
    assert statuses == {"success": 17, "not_an_image": 1, "no_image": 1, "unusable_description": 3}
    records = read_conversations(tmp_path / "out" / "hq_edit.json")
    assert len(records) == 17 and len({record.id for record in records}) == 17
    images = tmp_path / "out" / "images"
    tars = [path.name for path in images.glob("*.tar")]
    assert len(tars) == 2
    pictures = PictureStore(images, open_pictures_of_shards(images, tars, tmp_path / "cache"))
    wanted = [(number, side) for number in range(7) for side in (0, 1)] + [(7, 1), (8, 1), (9, 0)]
    for record, (number, side) in zip(records, wanted, strict=True):
        question, answer = record.turns
        assert question == Turn("user", f"<image>\n{PAPER_PROMPT}")
        assert answer == Turn("assistant", f"A picture {number} {('before', 'after')[side]}.")
        assert record.image is not None
        assert pictures.read(record.image) == encoded(picture(2 * number + side), ("JPEG", "PNG")[side])


def test_a_killed_conversion_continues_and_ends_in_the_same_bytes(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hq_edit, "_PAIRS_PER_SHARD", 3)
    convert(source, tmp_path / "whole")
    written: list[int] = []
    original = hq_edit.write_shard

    def killed(folder: Path, index: int, rows: list[ShardRow]) -> object:
        if index == 2 and 2 not in written:
            written.append(index)
            raise KeyboardInterrupt
        written.append(index)
        return original(folder, index, rows)

    monkeypatch.setattr(hq_edit, "write_shard", killed)
    with pytest.raises(KeyboardInterrupt):
        convert(source, tmp_path / "out")
    assert not (tmp_path / "out" / "hq_edit.json").exists()
    (tmp_path / "out" / "images" / "00002.tar.partial-1").write_bytes(b"half a shard")
    convert(source, tmp_path / "out")
    assert written == [0, 1, 2, 2, 3, 4]
    files = sorted(path.relative_to(tmp_path / "whole") for path in (tmp_path / "whole").rglob("*") if path.is_file())
    assert len(files) == 5 * 3 + 2 == sum(path.is_file() for path in (tmp_path / "out").rglob("*"))
    for file in files:
        assert (tmp_path / "out" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes(), file


def test_a_folder_of_another_conversion_is_refused(source: Path, tmp_path: Path) -> None:
    [first, _] = sorted(source.rglob("*.parquet"))
    convert(first, tmp_path / "out")
    assert len(read_conversations(tmp_path / "out" / "hq_edit.json")) == 14
    with pytest.raises(UserError, match=r"out: converted from other files: found \['train-00000-of-00002"):
        convert(source, tmp_path / "out")


def test_what_is_not_hq_edit_is_named(source: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing to convert: found no such folder"):
        convert(tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"nothing to convert: found no \.parquet files"):
        convert(tmp_path / "empty", tmp_path / "out")
    pyarrow.parquet.write_table(pyarrow.table({"input": ["A dog"]}), tmp_path / "empty" / "a.parquet")
    with pytest.raises(UserError, match=r"a\.parquet: parquet has no column input_image: wanted one of input"):
        convert(tmp_path / "empty", tmp_path / "out")
    (tmp_path / "empty" / "a.parquet").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"a\.parquet: parquet is damaged"):
        convert(tmp_path / "empty", tmp_path / "out")
    published(tmp_path / "empty" / "a.parquet", [pair(0, input="", output="")])
    with pytest.raises(UserError, match=r"no picture has a description: found \{'unusable_description': 2\}"):
        convert(tmp_path / "empty", tmp_path / "out")


def test_command_says_what_it_made(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["imagetext", "hq_edit", f"--input={source}", f"--output={tmp_path / 'out'}"])
    main()
    said = capsys.readouterr().out
    assert said == (
        "17 pictures described, left out: unusable_description 3, not_an_image 1, no_image 1: "
        f"{tmp_path / 'out' / 'hq_edit.json'}\n"
    )
    assert json.loads((tmp_path / "out" / "images" / "00001_stats.json").read_text())["successes"] == 3
