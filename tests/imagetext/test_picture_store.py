"""Pictures are found by name, in folders and in shards, and what is missing is told from what is broken."""

import json
import os
from pathlib import Path

import pytest

from imagetext import picture_index
from imagetext.decode import DecodeError
from imagetext.picture_index import open_pictures_of_shards
from imagetext.picture_store import PictureStore, shard_of
from imagetext.shards import list_shards, read_shard
from runtime.errors import UserError
from tests.imagetext.pictures import encoded, picture, write_shards


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two shards in the folder, two of the same keys in a folder below, and plain files."""
    root = tmp_path / "images"
    write_shards(root, [3, 2])
    write_shards(root / "web", [2, 4])
    (root / "coco").mkdir()
    (root / "coco" / "000.1.jpg").write_bytes(encoded(picture(99)))
    return root


def store(folder: Path, *tars: str) -> PictureStore:
    return PictureStore(folder, open_pictures_of_shards(folder, tars, folder.parent / "cache"))


def images(folder: Path) -> dict[str, bytes]:
    return {sample.key: sample.image for shard in list_shards(folder) for sample in read_shard(shard, "")}


def test_members_are_found_by_shard_and_by_key(folder: Path) -> None:
    pictures = store(folder, "00000.tar", "00001.tar", "web/00001.tar")
    for key, data in images(folder).items():
        assert pictures.read(f"{key[:5]}.tar/{key}") == data
    web = images(folder / "web")
    assert pictures.read("web/00001.tar/000010003") == web["000010003"]
    assert pictures.read("web/00001.tar/000010003.jpg") == web["000010003"]
    assert pictures.read("000000002") == pictures.read("000000002.jpg") == images(folder)["000000002"]
    assert pictures.holds("00001.tar/000010001")


def test_a_key_alone_is_of_the_folder_s_own_shards(folder: Path) -> None:
    """The same keys are given out in every folder: another one's picture would be a wrong one."""
    pictures = store(folder, "00000.tar", "00001.tar", "web/00000.tar", "web/00001.tar")
    assert pictures.read("000010001") == images(folder)["000010001"]
    assert not pictures.holds("000010003"), "only a shard of a folder below has it"


def test_files_are_read_beside_shards(folder: Path) -> None:
    for pictures in (store(folder, "00000.tar"), PictureStore(folder)):
        assert pictures.read("coco/000.1.jpg") == encoded(picture(99))
        assert pictures.holds("coco/000.1.jpg") and not pictures.holds("coco")


@pytest.mark.parametrize(
    "name", ["coco/2.jpg", "coco", "coco/000.1.jpg/x", "00000.tar/000000009", "9" * 300, "x.tar/1"]
)
def test_a_missing_picture_is_one_bad_sample(folder: Path, name: str) -> None:
    pictures = store(folder, "00000.tar")
    assert not pictures.holds(name)
    with pytest.raises(DecodeError, match=r"^missing: ") as refusal:
        pictures.read(name)
    assert refusal.value.reason == "missing"


def test_a_disk_that_fails_is_no_fault_of_a_sample(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Path) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(OSError, match="Input/output error"):
        PictureStore(folder).read("coco/000.1.jpg")


def test_a_key_of_several_shards_needs_its_shard(folder: Path) -> None:
    """Shards that were put together from several runs of a downloader."""
    for suffix in (".tar", ".parquet", "_stats.json"):
        (folder / f"00000{suffix}").with_name(f"00007{suffix}").write_bytes((folder / f"00000{suffix}").read_bytes())
    pictures = store(folder, "00000.tar", "00007.tar")
    with pytest.raises(UserError, match=r"000000001: several shards hold.*00000\.tar, 00007\.tar.*Name it SHARD"):
        pictures.read("000000001")
    assert pictures.read("00007.tar/000000001") == images(folder)["000000001"]


def test_shards_are_read_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = store(folder, "00000.tar").read("000000001")
    monkeypatch.setattr(picture_index, "ShardReader", lambda *_: pytest.fail("read again"))
    assert store(folder, "00000.tar").read("000000001") == first
    os.utime(folder / "00000.tar", (1, 1))
    with pytest.raises(pytest.fail.Exception, match="read again"):
        store(folder, "00000.tar")


def test_broken_shards_stop_at_once(folder: Path) -> None:
    with pytest.raises(UserError, match=r"images/00007\.tar: shard is missing"):
        store(folder, "00007.tar")
    pictures = store(folder, "00001.tar")
    os.truncate(folder / "00001.tar", 600)
    with pytest.raises(UserError, match=r"images/00001\.tar: shard is shorter than it was"):
        pictures.read("000010001")
    with pytest.raises(UserError, match=r"00001\.tar: tar is truncated or damaged"):
        store(folder, "00001.tar")
    (folder / "00000_stats.json").unlink()
    with pytest.raises(UserError, match=r"00000\.tar: shard has no 00000_stats\.json"):
        store(folder, "00000.tar")


def test_more_samples_than_the_stats_say_are_refused(folder: Path) -> None:
    stats = folder / "00000_stats.json"
    stats.write_text(json.dumps({**json.loads(stats.read_text()), "successes": 2}))
    with pytest.raises(UserError, match=r"00000\.tar: tar disagrees with its stats: found 3 samples"):
        store(folder, "00000.tar")


def test_names_speak_of_their_shard() -> None:
    assert shard_of("web/00012.tar/000120007.jpg") == "web/00012.tar"
    assert shard_of("coco/train2017/1.jpg") is None and shard_of("a.tar") is None
