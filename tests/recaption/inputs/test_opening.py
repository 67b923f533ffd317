"""What a job may be given, and what it refuses."""

from pathlib import Path

import pytest

from recaption.config import RecaptionConfig
from recaption.inputs.opening import open_units
from recaption.inputs.units import Unit
from runtime.config import load
from runtime.errors import UserError
from tests.recaption.tars import sample, write_parquet, write_tar


def config(folder: Path, **fields: object) -> RecaptionConfig:
    return RecaptionConfig(output_dir=folder / "side", model=folder / "model", **fields)  # type: ignore[arg-type]


def test_each_kind_of_input_is_opened(tmp_path: Path) -> None:
    write_tar(tmp_path / "shards" / "00000.tar", sample("a"))
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.jpg").write_bytes(b"picture")
    (tmp_path / "set").mkdir()
    table = write_parquet(tmp_path / "set" / "test.parquet", [{"image": b"picture", "key": "a"}])
    (tmp_path / "talk.json").write_text('[{"id": "a", "image": "a.jpg", "conversations": []}]')
    talk = {"conversations": tmp_path / "talk.json", "pictures": tmp_path / "pictures"}
    inputs = [
        {"shards": str(tmp_path / "shards")},
        {"images": tmp_path / "pictures"},
        {"table": str(table)},
        {"dataset": str(tmp_path / "set"), "split": "train"},
        talk,
    ]
    for fields in inputs:
        [unit] = open_units(config(tmp_path, **fields))
        assert isinstance(unit, Unit)
        [row] = unit.rows()
        assert row.image == b"picture" and unit.count_rows() == 1 and unit.fingerprint(), fields
        assert unit.keys() == [row.key], fields


def test_columns_are_named_on_the_command_line(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", [{"scan": b"picture"}])
    arguments = [f"--output_dir={tmp_path / 'side'}", "--model=m", f"--table={tmp_path}", "--columns.image=scan"]
    [unit] = open_units(load(RecaptionConfig, overrides=arguments))
    assert [row.image for row in unit.rows()] == [b"picture"]


def test_exactly_one_input_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="dataset, conversations: one input is needed: found none"):
        config(tmp_path)
    with pytest.raises(UserError, match="shards, table: one input is needed: found both, wanted exactly one"):
        config(tmp_path, shards="x", table="y")


def test_fields_of_another_input_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="split: goes with dataset alone: found split with shards"):
        config(tmp_path, shards="x", split="train")
    with pytest.raises(UserError, match="pictures: goes with conversations alone"):
        config(tmp_path, shards="x", pictures=tmp_path)
    with pytest.raises(UserError, match="pictures: conversations need their pictures"):
        config(tmp_path, conversations=tmp_path / "talk.json")
