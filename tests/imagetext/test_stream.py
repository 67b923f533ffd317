"""The stream: captions joined, data fingerprinted, everything checkable checked at once."""

from pathlib import Path

import pytest

from imagetext.shards import read_shard, write_shard
from imagetext.sidecars import write_sidecar
from imagetext.stream import DataConfig, SampleStream
from runtime.config import load
from runtime.errors import UserError
from tests.imagetext.pictures import row, write_shards


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for shard in write_shards(tmp_path / "web", [4, 3, 5]):
        for name in ("side", "clean"):
            rows = [{"key": s.key, "sha256": s.sha256, "re_caption": f"{name} {s.key}"} for s in read_shard(shard, "")]
            write_sidecar(tmp_path / name, shard.name, rows)
    return tmp_path


def test_captions_of_all_sources_are_joined(folder: Path) -> None:
    stream = SampleStream(DataConfig(shards=folder / "web", sidecars={"recaption": folder / "side"}), 0)
    for position in range(24):
        sample, epoch = stream.sample(position)
        assert sample.captions["recaption"] == f"side {sample.key}" and "original" in sample.captions
        assert epoch == position // 12 and sample.qualified_key == f"web/{sample.key}"


def test_sidecar_called_original_replaces_the_text(folder: Path) -> None:
    stream = SampleStream(DataConfig(shards=folder / "web", sidecars={"original": folder / "clean"}), 0)
    sample, _ = stream.sample(5)
    assert sample.captions == {"original": f"clean {sample.key}"}


def test_limit_takes_the_first_on_disk(folder: Path) -> None:
    stream = SampleStream(DataConfig(shards=folder / "web", limit_samples=6), 0)
    keys = sorted(stream.sample(i)[0].key for i in range(stream.num_samples))
    assert keys == ["000000000", "000000001", "000000002", "000000003", "000010000", "000010001"]


def test_few_open_shards_give_the_same_samples(folder: Path) -> None:
    """With a window of one sample all but two shards are closed again and again."""
    stream = SampleStream(DataConfig(shards=folder / "web", window_samples=1), 0)
    keys = [stream.sample(i)[0].key for i in [0, 11, 5, 0, 23, 11]]
    fresh = [SampleStream(stream.config, 0).sample(i)[0].key for i in [0, 11, 5, 0, 23, 11]]
    assert keys == fresh


def test_fingerprint_is_of_the_data_not_of_its_place_or_order(folder: Path, tmp_path: Path) -> None:
    config = DataConfig(shards=folder / "web", sidecars={"recaption": folder / "side"})
    fingerprint = SampleStream(config, 0).fingerprint()
    (folder / "moved").mkdir()
    (folder / "web").rename(folder / "moved" / "web")
    moved = DataConfig(shards=folder / "moved" / "web", sidecars={"recaption": folder / "side"}, shuffle=False)
    assert SampleStream(moved, 1).fingerprint() == fingerprint
    others = [
        DataConfig(shards=folder / "moved" / "web"),
        DataConfig(shards=folder / "moved" / "web", sidecars={"recaption": folder / "clean"}),
        DataConfig(shards=folder / "moved" / "web", sidecars={"recaption": folder / "side"}, limit_samples=5),
    ]
    write_shard(folder / "moved" / "web", 2, [row(2, 9)])
    assert fingerprint not in [SampleStream(other, 0).fingerprint() for other in [*others, moved]]


def test_missing_sidecar_is_refused_at_once(folder: Path) -> None:
    config = DataConfig(shards=folder / "web", sidecars={"recaption": folder / "side"})
    (folder / "side" / "00002_stats.json").unlink()
    with pytest.raises(
        UserError, match=r"side: sidecar of shard 00002 is missing or unfinished.*data\.sidecars\.recaption"
    ):
        SampleStream(config, 0)
    with pytest.raises(UserError, match="nowhere: folder is missing"):
        SampleStream(DataConfig(shards=folder / "web", sidecars={"recaption": folder / "nowhere"}), 0)


def test_missing_column_is_refused_at_once(folder: Path) -> None:
    sidecars = {"recaption": folder / "side"}
    config = DataConfig(shards=folder / "web", sidecars=sidecars, sidecar_columns={"recaption": "re_best"})
    with pytest.raises(UserError, match="parquet has no column re_best"):
        SampleStream(config, 0)


def test_sidecar_of_other_shards_is_refused_at_once(folder: Path) -> None:
    """Else every sample would fall back to its original, counted but in vain."""
    write_sidecar(folder / "side", "00000", [{"key": "elsewhere", "re_caption": "words"}])
    with pytest.raises(UserError, match="sidecar of shard 00000 has no row for any of its samples"):
        SampleStream(DataConfig(shards=folder / "web", sidecars={"recaption": folder / "side"}), 0)


def test_shards_without_samples_are_refused(tmp_path: Path) -> None:
    write_shard(tmp_path, 0, [row(0, 0, image=None, status="failed_to_download")])
    with pytest.raises(UserError, match="shards hold no samples"):
        SampleStream(DataConfig(shards=tmp_path), 0)


def test_url_is_read_like_a_folder(folder: Path) -> None:
    remote = SampleStream(DataConfig(shards=f"file://{folder}/web", sidecars={"recaption": f"file://{folder}/side"}), 0)
    local = SampleStream(DataConfig(shards=folder / "web", sidecars={"recaption": folder / "side"}), 0)
    assert [remote.sample(i) for i in range(12)] == [local.sample(i) for i in range(12)]
    assert remote.fingerprint() == local.fingerprint()


def test_config_reads_from_flags(folder: Path) -> None:
    config = load(DataConfig, overrides=["--shards", "s3://bucket/web", "--sidecars", '{"recaption": "s3://b/side"}'])
    assert str(config.shards) == "s3://bucket/web" and str(config.sidecars["recaption"]) == "s3://b/side"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"window_samples": 0}, "window_samples is out of range: found 0, wanted at least 1"),
        ({"num_workers": -1}, "num_workers is out of range"),
        ({"max_pixels": 178_956_971}, "max_pixels is out of range: found 178956971, wanted at most 178956970"),
        ({"max_bad_share": 2.0}, "max_bad_share is out of range"),
        ({"decode_min_side_px": 0}, "decode_min_side_px is out of range: found 0, wanted at least 1"),
        ({"sidecar_columns": {"recaption": "x"}}, "sidecar_columns names no sidecar: found recaption"),
    ],
)
def test_bad_configs_are_refused(fields: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        DataConfig(shards="web", **fields)
