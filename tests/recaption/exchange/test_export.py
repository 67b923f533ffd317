"""Finished captions out as shards and as a Hugging Face data set, whatever was captioned."""

import io
import json
from pathlib import Path

import datasets
import pytest
import webdataset
from PIL import Image

from imagetext.shards import list_shards, read_attempted, read_shard
from imagetext.sidecars import OWN_COLUMNS, write_sidecar
from recaption.__main__ import main
from recaption.config import RecaptionConfig
from recaption.exchange import exporting
from recaption.exchange.export_config import ExportConfig
from recaption.exchange.exporting import export
from recaption.inputs.opening import open_units
from runtime.config import to_yaml
from runtime.errors import UserError
from tests.recaption.conftest import jpeg
from tests.recaption.tars import sample, write_parquet, write_stats, write_tar


def png(grey: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (4, 3), grey).save(buffer, "PNG")
    return buffer.getvalue()


def finish(folder: Path, **fields: object) -> Path:
    """Write what a run would leave of an input: every row with a picture captioned, every fourth flagged."""
    run = folder / "run"
    config = RecaptionConfig(output_dir=run, model=folder / "model", prompt="What is it?", **fields)  # type: ignore[arg-type]
    run.mkdir()
    (run / "config.yaml").write_text(to_yaml(config))
    for unit in open_units(config):
        rows: list[dict[str, object]] = []
        for place, row in enumerate(unit.rows()):
            identity = {
                "key": row.key,
                "uid": row.uid,
                "url": row.url,
                "sha256": row.sha256,
                "org_caption": row.caption,
            }
            made = {"re_caption": None, "status": row.status, "error_message": row.error_message, "flags": []}
            if row.image is not None:
                made = {"re_caption": f"A picture {row.key}.", "flags": ["cut_off"] if place % 4 == 3 else []}
            rows.append({**identity, **made, OWN_COLUMNS: row.columns, "captioner_id": "captioner"})
        write_sidecar(run, unit.name, rows, own_types=unit.column_types())
    return run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run over two shards of DataComp's kind: in each five pictures, a failed download, own columns."""
    for index in (3, 9):
        keys = [f"{index:08d}{row:04d}" for row in range(6)]
        folder = tmp_path / "shards"
        write_tar(folder / f"{index:08d}.tar", [file for key in keys[:5] for file in sample(key, jpeg(int(key[-4:])))])
        listed = [
            {
                "key": key,
                "status": "success",
                "error_message": None,
                "sha256": f"recorded {key}",
                "width": 24,
                "caption": f"alt {key}",
            }
            for key in keys[:5]
        ]
        listed.append({**listed[0], "key": keys[5], "status": "failed_to_download", "error_message": "HTTP 404"})
        write_parquet(folder / f"{index:08d}.parquet", listed)
        write_stats(folder / f"{index:08d}_stats.json", successes=5, count=6)
    return finish(tmp_path, shards=str(tmp_path / "shards"))


def config(run: Path, kind: str, **fields: object) -> ExportConfig:
    place = {"output_dir": run.parent / "out", "recaptions": run, "format": kind}
    return ExportConfig(**{**place, **fields})  # type: ignore[arg-type]


def test_shards_come_back_with_the_chosen_captions(run: Path) -> None:
    counts = export(config(run, "webdataset", without_flags=["cut_off"]))
    assert counts == {"failed_to_download": 2, "left_out": 2, "success": 8}
    shards = list_shards(run.parent / "out")
    assert [(shard.name, shard.num_rows, shard.num_samples) for shard in shards] == [
        ("00000003", 6, 4),
        ("00000009", 6, 4),
    ]
    first, *_ = read_shard(shards[0], "")
    assert first.captions == {"original": "A picture 000000030000."} and first.image == jpeg(0)
    assert first.sha256 == "recorded 000000030000"
    assert (first.metadata["org_caption"], first.metadata["width"]) == ("alt 000000030000", 24)
    left = {row.key: (row.status, row.error_message) for row in read_attempted(shards[0]) if row.status != "success"}
    assert left == {
        "000000030003": ("left_out", "flagged cut_off"),
        "000000030005": ("failed_to_download", "HTTP 404"),
    }


def test_exported_tars_are_webdatasets(run: Path) -> None:
    export(config(run, "webdataset"))
    read = list(webdataset.WebDataset(str(run.parent / "out" / "00000009.tar"), shardshuffle=False, empty_check=False))
    assert [each["__key__"] for each in read] == [f"00000009000{row}" for row in range(5)]
    assert read[0]["txt"] == b"A picture 000000090000." and json.loads(read[0]["json"])["status"] == "success"


def test_load_dataset_opens_the_folder(run: Path, tmp_path: Path) -> None:
    export(config(run, "huggingface", name="My web"))
    loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert list(loaded) == ["train"] and len(loaded["train"]) == 10
    row = loaded["train"][5]
    assert isinstance(row["image"], Image.Image) and row["image"].size == (24, 20)
    assert row["key"] == "000000090000" and row["caption"] == "A picture 000000090000." == row["re_caption"]
    assert (row["org_caption"], row["width"], row["sha256"]) == ("alt 000000090000", 24, "recorded 000000090000")
    raw = loaded["train"].cast_column("image", datasets.Image(decode=False))[0]["image"]
    assert raw == {"bytes": jpeg(0), "path": "000000030000.jpg"}
    card = (tmp_path / "out" / "README.md").read_text()
    for said in (
        "# My web",
        "| train | 10 |",
        "| failed_to_download | 2 |",
        "> What is it?",
        "`captioner`",
        "Not stated yet",
    ):
        assert said in card
    assert "license:" not in card


def test_captions_alone_are_a_data_set_too(run: Path, tmp_path: Path) -> None:
    export(config(run, "huggingface", with_pictures=False, license="cc-by-4.0"))
    loaded = datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    assert "image" not in loaded.column_names and len(loaded) == 10
    assert "license: cc-by-4.0" in (tmp_path / "out" / "README.md").read_text()


def test_originals_and_mixes_say_which_caption_a_row_has(run: Path, tmp_path: Path) -> None:
    export(config(run, "webdataset", captions="original"))
    [sample, *_] = read_shard(list_shards(tmp_path / "out")[0], "")
    assert sample.captions["original"] == "alt 000000030000" and sample.metadata["caption_source"] == "original"
    mixed = {}
    for share in (0.3, 0.7):
        out = tmp_path / f"mix {share}"
        export(config(run, "webdataset", captions="mix", original_share=share, output_dir=out, seed=1))
        rows = [row for shard in list_shards(out) for row in read_shard(shard, "")]
        mixed[share] = {row.key for row in rows if row.metadata["caption_source"] == "original"}
        assert all(row.captions["original"].startswith("alt") == (row.key in mixed[share]) for row in rows)
    assert set() < mixed[0.3] < mixed[0.7], "runs of different shares nest"


def test_other_inputs_get_keys_that_webdataset_reads_whole(tmp_path: Path) -> None:
    (tmp_path / "photos" / "deep").mkdir(parents=True)
    (tmp_path / "photos" / "deep" / "a.b.png").write_bytes(png(1))
    (tmp_path / "photos" / "z.jpg").write_bytes(jpeg(2))
    run = finish(tmp_path, images=tmp_path / "photos")
    export(config(run, "webdataset"))
    rows = list(read_shard(list_shards(tmp_path / "out")[0], ""))
    assert [(row.key, row.metadata["source_key"]) for row in rows] == [
        ("000000000", "deep/a.b.png"),
        ("000000001", "z.jpg"),
    ]
    assert [row.image for row in rows] == [png(1), jpeg(2)]


def test_splits_of_a_data_set_stay_apart(tmp_path: Path) -> None:
    features = datasets.Features({"image": datasets.Image(), "stars": datasets.Value("int32")})
    for split, grey in (("train", 1), ("test", 2)):
        rows = {"image": [{"bytes": png(grey), "path": None}], "stars": [grey]}
        place = tmp_path / "set" / "data" / f"{split}-00000-of-00001.parquet"
        place.parent.mkdir(parents=True, exist_ok=True)
        datasets.Dataset.from_dict(rows, features=features).to_parquet(place)
    run = finish(tmp_path, dataset=str(tmp_path / "set"))
    export(config(run, "huggingface"))
    loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert {split: loaded[split]["stars"][:] for split in loaded} == {"train": [1], "test": [2]}


@pytest.mark.parametrize("kind", ["webdataset", "huggingface"])
def test_a_stopped_export_goes_on(run: Path, kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    exported: list[str] = []
    sidecar = exporting._sidecar

    def stop_at_the_second(*arguments: object) -> object:
        if len(exported) == 1:
            raise KeyboardInterrupt
        exported.append(arguments[1].name)  # type: ignore[attr-defined]
        return sidecar(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(exporting, "_sidecar", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        export(config(run, kind))
    assert not (tmp_path / "out" / "README.md").exists() and not (tmp_path / "out" / "00000009.tar").exists()
    monkeypatch.setattr(exporting, "_sidecar", lambda *a: (exported.append(a[1].name), sidecar(*a))[1])
    counts = export(config(run, kind))
    assert exported == ["00000003", "00000009"] and counts == {"failed_to_download": 2, "success": 10}
    assert export(config(run, kind)) == counts and len(exported) == 2


def test_imported_captions_are_exported_with_the_shards_named(run: Path, tmp_path: Path) -> None:
    (run / "config.yaml").unlink()
    with pytest.raises(UserError, match=r"no config\.yaml says what was captioned.*Give the shards"):
        export(config(run, "huggingface"))
    assert export(config(run, "huggingface", shards=str(tmp_path / "shards")))["success"] == 10


def test_what_can_not_be_exported_is_named(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="caption_column: sidecar has no such column: found re_best, wanted one of key"):
        export(config(run, "webdataset", caption_column="re_best"))
    with pytest.raises(UserError, match="this folder holds another export, differing in 'caption_column'"):
        export(config(run, "webdataset"))
    with pytest.raises(UserError, match="folder is not empty"):
        export(config(run, "webdataset", output_dir=tmp_path / "shards"))
    with pytest.raises(UserError, match="nowhere: no such folder"):
        export(config(run, "webdataset", recaptions=tmp_path / "nowhere"))
    (run / "00000009_stats.json").unlink()
    with pytest.raises(UserError, match="captions are not finished: found 1 of 2 units missing, such as 00000009"):
        export(config(run, "webdataset", output_dir=tmp_path / "other"))


def test_another_input_than_the_captioned_one_is_refused(run: Path, tmp_path: Path) -> None:
    key = "000000030009"
    write_parquet(tmp_path / "shards" / "00000003.parquet", [{"key": key, "status": "success"}])
    with pytest.raises(UserError, match="00000003: the input is not the one that was captioned: found 000000030009"):
        export(config(run, "webdataset"))


def test_settings_out_of_range_are_refused(run: Path) -> None:
    for fields, said in (
        ({"original_share": 1.5}, r"original_share: out of range: found 1\.5, wanted \[0, 1\]"),
        ({"workers": 0}, "workers: out of range"),
        ({"statuses": []}, "statuses: empty"),
        ({"with_pictures": False}, "shards always hold pictures"),
        ({"output_dir": run}, "output_dir: the captions themselves lie there"),
    ):
        with pytest.raises(UserError, match=said):
            config(run, "webdataset", **fields)


def test_the_command_line_exports(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = run.parent / "out"
    arguments = ["--recaptions", str(run), "--output_dir", str(out), "--format", "webdataset"]
    monkeypatch.setattr("sys.argv", ["recaption", "export", *arguments])
    main()
    assert f"{out}: failed_to_download 2, success 10" in capsys.readouterr().out
