"""Shards: the layout on disk, random access, and every way a shard can be broken."""

import hashlib
import json
from pathlib import Path

import pyarrow.parquet
import pytest
import webdataset

from imagetext.shards import ShardReader, list_shards, make_key, read_attempted, read_shard, write_shard
from runtime.errors import UserError
from tests.imagetext.pictures import row, write_shards


def test_layout_is_img2datasets_and_webdataset_reads_it(tmp_path: Path) -> None:
    failed = row(0, 1, image=None, status="failed_to_download", error_message="404")
    shard = write_shard(tmp_path, 0, [row(0, 0), failed, row(0, 2)])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["00000.parquet", "00000.tar", "00000_stats.json"]
    assert (shard.name, shard.num_rows, shard.num_samples) == ("00000", 3, 2)
    stats = json.loads((tmp_path / "00000_stats.json").read_text())
    assert stats["count"] == 3 and stats["successes"] == 2
    assert stats["status_dict"] == {"failed_to_download": 1, "success": 2}
    theirs = list(webdataset.WebDataset(shard.tar, shardshuffle=False))
    assert [sample["__key__"] for sample in theirs] == ["000000000", "000000002"]
    ours = list(read_shard(shard, "web"))
    assert [s.image for s in ours] == [sample["jpg"] for sample in theirs]
    assert [s.captions["original"].encode() for s in ours] == [sample["txt"] for sample in theirs]
    table = pyarrow.parquet.read_table(tmp_path / "00000.parquet").to_pylist()
    assert [r["key"] for r in table] == ["000000000", "000000001", "000000002"]
    assert table[1]["error_message"] == "404" and table[1]["status"] == "failed_to_download"


def test_samples_carry_identity(tmp_path: Path) -> None:
    [shard] = write_shards(tmp_path, [2])
    sample = list(read_shard(shard, "web"))[1]
    assert sample.qualified_key == "web/000000001"
    assert (sample.uid, sample.url, sample.shard) == ("u1", "http://example.org/1.jpg", "00000")
    assert sample.sha256 == hashlib.sha256(sample.image).hexdigest()


def test_recorded_sha256_is_kept(tmp_path: Path) -> None:
    """The digest of the original download is not that of the resized image in the tar."""
    shard = write_shard(tmp_path, 0, [row(0, 0, metadata={"sha256": "ab" * 32})])
    assert next(read_shard(shard, "web")).sha256 == "ab" * 32


def test_same_rows_same_bytes(tmp_path: Path) -> None:
    nested = {"scene": {"things": [1, 2]}, "width": 3}
    for name in ("a", "b"):
        write_shard(tmp_path / name, 7, [row(7, 0, metadata=nested), row(7, 1)])
    for file in ("00007.tar", "00007.parquet", "00007_stats.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    [shard] = list_shards(tmp_path / "a")
    assert next(read_shard(shard, "web")).metadata["scene"] == {"things": [1, 2]}


def test_random_access_equals_sequential(tmp_path: Path) -> None:
    [shard] = write_shards(tmp_path, [5])
    in_order = list(read_shard(shard, "web"))
    with ShardReader(shard, "web") as reader:
        assert [reader.sample(i) for i in (3, 0, 4)] == [in_order[i] for i in (3, 0, 4)]
        assert reader.keys == [make_key(0, i) for i in range(5)]


def test_foreign_tar_with_mixed_case_and_no_parquet(tmp_path: Path) -> None:
    with webdataset.TarWriter(str(tmp_path / "00000000.tar")) as writer:
        writer.write({"__key__": "000000000000", "JPG": b"image", "txt": b"words", "json": b'{"uid": "u"}'})
    (tmp_path / "00000000_stats.json").write_text('{"successes": 1}')
    [shard] = list_shards(tmp_path)
    [attempted] = read_attempted(shard)
    assert (attempted.key, attempted.caption, attempted.uid, attempted.status) == (
        "000000000000",
        "words",
        "u",
        "success",
    )


def test_attempted_rows_include_failures(tmp_path: Path) -> None:
    shard = write_shard(tmp_path, 0, [row(0, 0), row(0, 1, image=None, status="failed_to_resize", error_message="bad")])
    rows = read_attempted(shard)
    assert [(r.key, r.status, r.error_message) for r in rows] == [
        ("000000000", "success", None),
        ("000000001", "failed_to_resize", "bad"),
    ]


def test_reads_by_url(tmp_path: Path) -> None:
    write_shards(tmp_path, [2, 1])
    remote = [s.key for shard in list_shards(f"file://{tmp_path}") for s in read_shard(shard, "web")]
    assert remote == ["000000000", "000000001", "000010000"]


@pytest.mark.parametrize("cut", [100, 700, 3000, -600, -10240 + 512])
def test_truncated_tar_is_named(tmp_path: Path, cut: int) -> None:
    [shard] = write_shards(tmp_path, [3])
    tar = Path(shard.tar)
    data = tar.read_bytes()
    end = len(data.rstrip(b"\0")) // 512 * 512 + 512
    tar.write_bytes(data[:cut] if cut > 0 else data[: end + min(0, cut + 600)])
    with pytest.raises(UserError, match=r"00000\.tar: tar is truncated or damaged"):
        list(read_shard(shard, "web"))


def test_unfinished_shard_is_refused(tmp_path: Path) -> None:
    write_shards(tmp_path, [1, 1])
    (tmp_path / "00001_stats.json").unlink()
    with pytest.raises(UserError, match=r"00001\.tar: shard has no 00001_stats\.json.*run it again"):
        list_shards(tmp_path)


def test_missing_tar_is_refused(tmp_path: Path) -> None:
    write_shards(tmp_path, [1, 1])
    (tmp_path / "00000.tar").unlink()
    with pytest.raises(UserError, match=r"00000\.tar: shard's tar is missing"):
        list_shards(tmp_path)


def test_empty_and_missing_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="folder holds no shards"):
        list_shards(tmp_path)
    with pytest.raises(UserError, match="nowhere: folder is missing"):
        list_shards(tmp_path / "nowhere")


def test_tar_that_disagrees_with_stats_is_refused(tmp_path: Path) -> None:
    write_shards(tmp_path, [2])
    (tmp_path / "00000_stats.json").write_text('{"count": 3, "successes": 3}')
    [shard] = list_shards(tmp_path)
    with pytest.raises(UserError, match=r"tar disagrees with its stats: found 2 samples, wanted 3"):
        list(read_shard(shard, "web"))


def test_unreadable_stats_are_refused(tmp_path: Path) -> None:
    write_shards(tmp_path, [1])
    (tmp_path / "00000_stats.json").write_text('{"count": 1}')
    with pytest.raises(UserError, match=r"00000_stats\.json: stats file can't be read: .*successes"):
        list_shards(tmp_path)


def test_duplicate_keys_are_refused_in_writing_and_reading(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"duplicate key: found 000000000 2 times"):
        write_shard(tmp_path, 0, [row(0, 0), row(0, 0)])
    assert not list(tmp_path.glob("*.tar*"))
    with webdataset.TarWriter(str(tmp_path / "00000.tar")) as writer:
        for key in ("a", "b", "a"):
            writer.write({"__key__": key, "jpg": b"image"})
    (tmp_path / "00000_stats.json").write_text('{"successes": 2}')
    [shard] = list_shards(tmp_path)
    with pytest.raises(UserError, match=r"00000\.tar: duplicate key in tar: found a"):
        list(read_shard(shard, "web"))


def test_sample_without_image_is_refused(tmp_path: Path) -> None:
    with webdataset.TarWriter(str(tmp_path / "00000.tar")) as writer:
        writer.write({"__key__": "a", "txt": b"words"})
    (tmp_path / "00000_stats.json").write_text('{"successes": 1}')
    [shard] = list_shards(tmp_path)
    with pytest.raises(UserError, match="sample a has no image"):
        list(read_shard(shard, "web"))


def test_row_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="found status success without image"):
        write_shard(tmp_path, 0, [row(0, 0, image=None)])


def test_interrupted_rewrite_leaves_no_completion_mark(tmp_path: Path) -> None:
    write_shards(tmp_path, [1])

    def rows():
        yield row(0, 0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shard(tmp_path, 0, rows())
    assert not (tmp_path / "00000_stats.json").exists()
    assert not list(tmp_path.glob("*.partial*"))
