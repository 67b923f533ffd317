"""Jobs over inputs of other kinds than shards: sidecars that keep the users' own columns, and are verified."""

import json
from pathlib import Path

import datasets
import pytest

from imagetext.sidecars import SIDECAR_SCHEMA, read_sidecar_table
from recaption import verbs
from recaption.config import RecaptionConfig, VerifyConfig
from recaption.inputs.table_columns import ColumnsConfig
from recaption.inputs.table_units import list_table_units
from tests.recaption.conftest import jpeg
from tests.recaption.engine.scripted import Script, caption, settings
from tests.recaption.tars import write_parquet


def run(model: Path, folder: Path, **fields: object) -> Path:
    settings = {"max_new_tokens": 4, "batch_size": 4, "device": "cpu", "images_per_unit": 2}
    verbs.run(RecaptionConfig(model=model, output_dir=folder / "side", **settings, **fields))  # type: ignore[arg-type]
    verbs.verify(VerifyConfig(output_dir=folder / "side"))
    return folder / "side"


def test_a_table_keeps_its_columns(tmp_path: Path) -> None:
    rows = [
        {"key": f"k{index}", "image": jpeg(index), "text": f"alt {index}", "status": "draft", "stars": index}
        for index in range(2)
    ]
    path = write_parquet(tmp_path / "a.parquet", [*rows, {"key": "k2", "image": b"no picture"}])
    side = tmp_path / "side"
    caption(settings(side), list(list_table_units(str(path), 10, ColumnsConfig())), Script())
    table = read_sidecar_table(side, "00000")
    assert table.schema.names == [*SIDECAR_SCHEMA.names, "input_status", "stars"]
    assert table.select(["key", "status", "org_caption", "input_status", "stars"]).to_pylist() == [
        {"key": "k0", "status": "success", "org_caption": "alt 0", "input_status": "draft", "stars": 0},
        {"key": "k1", "status": "success", "org_caption": "alt 1", "input_status": "draft", "stars": 1},
        {"key": "k2", "status": "failed_to_decode", "org_caption": None, "input_status": None, "stars": None},
    ]


@pytest.mark.slow
def test_conversations_and_data_sets_are_captioned(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pictures").mkdir()
    records = []
    for index in range(3):
        (tmp_path / "pictures" / f"{index}.jpg").write_bytes(jpeg(index))
        records.append({"id": f"r{index}", "image": f"{index}.jpg", "conversations": []})
    talk = tmp_path / "talk.json"
    talk.write_text(json.dumps([*records, {"id": "r3", "conversations": []}]))
    side = run(model, tmp_path / "a", conversations=talk, pictures=tmp_path / "pictures")
    statuses = [
        status for name in ("00000", "00001") for status in read_sidecar_table(side, name)["status"].to_pylist()
    ]
    assert statuses == ["success"] * 3 + ["no_image"]
    pictures = [{"bytes": jpeg(index), "path": None} for index in range(3)]
    features = datasets.Features({"image": datasets.Image(), "caption": datasets.Value("string")})
    columns = {"image": pictures, "caption": ["a", "b", "c"]}
    saved = datasets.Dataset.from_dict(columns, features=features)
    datasets.DatasetDict({"test": saved}).save_to_disk(str(tmp_path / "saved"))
    side = run(model, tmp_path / "b", dataset=str(tmp_path / "saved"))
    assert read_sidecar_table(side, "test-00000")["org_caption"].to_pylist() == ["a", "b", "c"]
    assert capsys.readouterr().out.count("0 problems") == 2
