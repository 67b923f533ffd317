"""Tables as units: parquet and Arrow, bytes and places of pictures, keys, own columns, data sets on disk."""

import hashlib
import io
from pathlib import Path

import datasets
import fsspec
import pyarrow
import pyarrow.ipc
import pyarrow.parquet
import pytest
from PIL import Image

from recaption.inputs.dataset_units import list_dataset_units
from recaption.inputs.table_columns import ColumnsConfig
from recaption.inputs.table_units import TableUnit, list_table_units
from recaption.inputs.units import InputRow
from runtime.errors import UserError

ANY = ColumnsConfig()


def png(grey: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (4, 3), grey).save(buffer, "PNG")
    return buffer.getvalue()


def write(path: Path, group_rows: int = 100, **columns: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.table(columns), path, row_group_size=group_rows)
    return path


def rows(units: list[TableUnit]) -> list[InputRow]:
    return [row for unit in units for row in unit.rows()]


def test_a_unit_is_as_many_whole_row_groups_as_are_wanted(tmp_path: Path) -> None:
    pictures = [png(grey) for grey in range(10)]
    path = write(tmp_path / "a.parquet", 2, image=pictures, id=[f"row {index}" for index in range(10)])
    units = list_table_units(str(path), 3, ANY)
    assert [(unit.name, unit.num_rows, unit.groups) for unit in units] == [
        ("00000", 4, (0, 2)),
        ("00001", 4, (2, 4)),
        ("00002", 2, (4, 5)),
    ]
    assert [row.image for row in rows(units)] == pictures
    assert [unit.keys() for unit in units][1] == [f"row {index}" for index in range(4, 8)]
    assert len({unit.fingerprint() for unit in units}) == 3


def test_pictures_are_bytes_structs_paths_and_urls(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(png(1))
    fsspec.filesystem("memory").pipe("/table-pictures/b.png", png(2))
    places = ["pictures/a.png", str(tmp_path / "pictures" / "a.png"), "memory://table-pictures/b.png", "gone.png", None]
    write(tmp_path / "places.parquet", image_path=places)
    structs = [{"bytes": png(3), "path": "x.png"}, {"bytes": None, "path": "pictures/a.png"}, None]
    write(tmp_path / "structs.parquet", image=structs)
    by_place = rows(list_table_units(str(tmp_path / "places.parquet"), 100, ANY))
    assert [row.image for row in by_place] == [png(1), png(1), png(2), None, None]
    assert [row.status for row in by_place[3:]] == ["failed_to_read", "no_image"]
    assert by_place[3].error_message is not None and "gone.png: file is missing" in by_place[3].error_message
    by_struct = rows(list_table_units(str(tmp_path / "structs.parquet"), 100, ANY))
    assert [row.image for row in by_struct] == [png(3), png(1), None]
    assert by_struct[0].sha256 == hashlib.sha256(png(3)).hexdigest()


def test_keys_are_a_column_s_where_each_is_there_once(tmp_path: Path) -> None:
    pictures = [png(1), png(2)]
    write(tmp_path / "a.parquet", image=pictures, key=["x", "y"], id=[1, 1])
    write(tmp_path / "b.parquet", image=pictures, key=["x", "x"], id=[7, 8])
    write(tmp_path / "c.parquet", image=pictures, key=["x", None])
    units = list_table_units(str(tmp_path), 100, ANY)
    assert [unit.keys() for unit in units] == [["x", "y"], ["7", "8"], ["c.parquet/0", "c.parquet/1"]]
    assert [list(unit.column_types()) for unit in units] == [["id"], ["key"], ["key"]]
    assert [row.columns for row in units[1].rows()] == [{"key": "x"}, {"key": "x"}]


def test_captions_identity_and_own_columns_are_told_apart(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.parquet",
        image=[png(1)],
        text=["alt"],
        uid=["u"],
        sha256=["recorded"],
        thumbnail=[b"more bytes"],
        width=pyarrow.array([640], pyarrow.int16()),
        boxes=[[{"x": 1.5}]],
    )
    [unit] = list_table_units(str(path), 100, ANY)
    [row] = unit.rows()
    assert (row.caption, row.uid, row.sha256, row.url) == ("alt", "u", "recorded", None)
    assert row.columns == {"width": 640, "boxes": [{"x": 1.5}]}
    assert unit.column_types()["width"] == pyarrow.int16()


def test_columns_can_be_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", scan=[png(1)], image=["no picture"], legend=["said"], number=[3])
    columns = ColumnsConfig(image="scan", caption="legend", key="number")
    [row] = rows(list_table_units(str(path), 100, columns))
    assert (row.key, row.image, row.caption, row.columns) == ("3", png(1), "said", {"image": "no picture"})
    with pytest.raises(UserError, match=r"columns\.image: table has no such column: found photo, wanted one of scan"):
        list_table_units(str(path), 100, ColumnsConfig(image="photo"))


def test_bad_tables_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"folder holds no tables: wanted files \*\.parquet"):
        list_table_units(str(tmp_path), 100, ANY)
    write(tmp_path / "a.parquet", sentence=["x"])
    with pytest.raises(UserError, match="no column is known to hold pictures: found sentence"):
        list_table_units(str(tmp_path), 100, ANY)
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(UserError, match=r"a\.parquet: table is damaged"):
        list_table_units(str(tmp_path), 100, ANY)


def test_texts_that_are_no_utf_8_are_read(tmp_path: Path) -> None:
    broken = pyarrow.array([b"caf\xe9"], pyarrow.binary()).view(pyarrow.string())
    path = write(tmp_path / "a.parquet", image=[png(1)], caption=broken)
    [row] = rows(list_table_units(str(path), 100, ANY))
    assert row.caption == "caf\ufffd"


def data_set(num_rows: int) -> datasets.Dataset:
    pictures = [{"bytes": png(index), "path": None} for index in range(num_rows)]
    columns = {
        "image": pictures,
        "caption": [f"alt {index}" for index in range(num_rows)],
        "stars": list(range(num_rows)),
    }
    features = {"image": datasets.Image(), "caption": datasets.Value("string"), "stars": datasets.Value("int32")}
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


def test_a_saved_data_set_is_read_split_by_split(tmp_path: Path) -> None:
    splits = {"train": data_set(5).select([4, 1]), "test": data_set(2)}
    datasets.DatasetDict(splits).save_to_disk(str(tmp_path / "saved"))
    units = list_dataset_units(str(tmp_path / "saved"), None, 100, ANY)
    assert [(unit.name, unit.num_rows) for unit in units] == [("train-00000", 2), ("test-00000", 2)]
    assert [(row.image, row.caption, row.columns) for row in units[0].rows()] == [
        (png(4), "alt 4", {"stars": 4}),
        (png(1), "alt 1", {"stars": 1}),
    ]
    assert units[0].keys() == [f"train/data-00000-of-00001.arrow/{row}" for row in range(2)]
    [unit] = list_dataset_units(str(tmp_path / "saved" / "test"), None, 100, ANY)
    assert unit.name == "train-00000" and [row.image for row in unit.rows()] == [png(0), png(1)]
    with pytest.raises(UserError, match="no such split: found validation, wanted one of train, test"):
        list_dataset_units(str(tmp_path / "saved"), "validation", 100, ANY)


@pytest.mark.parametrize("url", [False, True])
def test_a_folder_as_on_the_hub_is_read_split_by_split(tmp_path: Path, url: bool) -> None:
    for name in (
        "data/train-00000-of-00002.parquet",
        "data/train-00001-of-00002.parquet",
        "data/test-00000-of-00001.parquet",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        data_set(2).to_parquet(tmp_path / name)
    (tmp_path / "README.md").write_text("# A data set")
    location = str(tmp_path)
    if url:
        fsspec.filesystem("memory").put(f"{tmp_path}/", "/hub-folder/", recursive=True)
        location = "memory://hub-folder"
    units = list_dataset_units(location, None, 100, ANY)
    assert [(unit.name, unit.label) for unit in units] == [
        ("test-00000", "data/test-00000-of-00001.parquet"),
        ("train-00000", "data/train-00000-of-00002.parquet"),
        ("train-00001", "data/train-00001-of-00002.parquet"),
    ]
    assert [row.image for row in units[2].rows()] == [png(0), png(1)]
    assert [unit.name for unit in list_dataset_units(location, "test", 100, ANY)] == ["test-00000"]


def test_arrow_files_of_the_other_kind_are_read(tmp_path: Path) -> None:
    table = pyarrow.table({"image": [png(index) for index in range(5)]})
    with pyarrow.ipc.new_file(tmp_path / "a.arrow", table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    units = list_table_units(str(tmp_path / "a.arrow"), 2, ANY)
    assert [unit.num_rows for unit in units] == [2, 2, 1]
    assert [row.image for row in rows(units)] == [png(index) for index in range(5)]


def test_a_folder_without_a_data_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"folder holds no data set: wanted dataset_dict\.json, state\.json, or files"):
        list_dataset_units(str(tmp_path), None, 100, ANY)
