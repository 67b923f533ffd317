"""Shuffled sidecars and the package's command line."""

import subprocess
import sys
from pathlib import Path

import pytest

from imagetext.derived_sidecars import shuffle_sidecar
from imagetext.inspection import inspect_shards
from imagetext.shards import read_shard, write_shard
from imagetext.sidecars import is_complete, read_sidecar_table, write_sidecar
from runtime.errors import UserError
from tests.imagetext.pictures import row, write_shards


@pytest.fixture
def side(tmp_path: Path) -> Path:
    for shard in write_shards(tmp_path / "web", [6, 5]):
        rows = [
            {
                "key": s.key,
                "sha256": s.sha256,
                "org_caption": s.captions["original"],
                "re_caption": f"of {s.key} " * (i + 1),
            }
            for i, s in enumerate(read_shard(shard, ""))
        ]
        rows[2] = {**rows[2], "re_caption": None, "status": "failed"}
        write_sidecar(tmp_path / "side", shard.name, rows)
    return tmp_path / "side"


def rows_of(folder: Path) -> list[dict]:
    return [row for name in ("00000", "00001") for row in read_sidecar_table(folder, name).to_pylist()]


def test_nobody_keeps_a_caption_and_none_is_lost(side: Path, tmp_path: Path) -> None:
    assert shuffle_sidecar(side, tmp_path / "out", seed=1) == 9
    before, after = rows_of(side), rows_of(tmp_path / "out")
    for old, new in zip(before, after, strict=True):
        assert (old["key"], old["sha256"], old["org_caption"]) == (new["key"], new["sha256"], new["org_caption"])
        assert (old["re_caption"] is None) == (new["re_caption"] is None) and old["status"] == new["status"]
        if old["re_caption"] is not None:
            assert old["re_caption"] != new["re_caption"] and new["re_length"] == len(new["re_caption"].split())
    captions = [sorted(str(row["re_caption"]) for row in rows) for rows in (before, after)]
    assert captions[0] == captions[1]


def test_seed_decides_and_a_second_run_changes_nothing(side: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        shuffle_sidecar(side, tmp_path / name, seed)
    assert rows_of(tmp_path / "a") == rows_of(tmp_path / "b") != rows_of(tmp_path / "c")
    (tmp_path / "a" / "00001_stats.json").unlink()
    first = (tmp_path / "a" / "00000.parquet").stat().st_mtime_ns
    shuffle_sidecar(side, tmp_path / "a", 1)
    assert is_complete(tmp_path / "a", "00001") and (tmp_path / "a" / "00000.parquet").stat().st_mtime_ns == first
    assert rows_of(tmp_path / "a") == rows_of(tmp_path / "b")
    with pytest.raises(UserError, match="shuffled from another source or seed"):
        shuffle_sidecar(side, tmp_path / "a", 2)


def test_sidecars_that_were_not_shuffled_are_neither_kept_nor_overwritten(side: Path, tmp_path: Path) -> None:
    write_sidecar(tmp_path / "other", "00001", [{"key": "000010000", "re_caption": "Of another captioner."}])
    for target, found in ((side, "00000_stats.json"), (tmp_path / "other", "00001_stats.json")):
        before = {path: path.read_bytes() for path in target.iterdir()}
        with pytest.raises(UserError) as refusal:
            shuffle_sidecar(side, target, 1)
        expected = (
            f"{target}: folder holds sidecars that were not shuffled: found {found}. Choose another output folder"
        )
        assert str(refusal.value) == expected
        assert {path: path.read_bytes() for path in target.iterdir()} == before


def test_folder_without_sidecars_is_refused(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="folder holds no sidecars"):
        shuffle_sidecar(tmp_path / "none", tmp_path / "out", 0)


def test_inspection_counts(side: Path, tmp_path: Path) -> None:
    failed = row(2, 1, image=None, status="failed_to_download")
    write_shard(tmp_path / "web", 2, [row(2, 0, image=b"no image"), failed])
    write_sidecar(side, "00002", [])
    assert inspect_shards(tmp_path / "web", {"recaption": side}, decode_images=True) == [
        "shards: 3",
        "rows attempted: 13 (success 12, failed_to_download 1)",
        "samples: 12",
        "caption original: 12, mean 3.0 words, median 3, at most 3, 0.0% empty",
        "caption recaption: 9, mean 6.7 words, median 8, at most 12, 0.0% empty, 3 samples without",
        "images: good 11, not_an_image 1",
    ]


def test_command_line(side: Path, tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "imagetext", *arguments], capture_output=True, text=True)

    shuffled = run("shuffle-sidecar", "--sidecar", str(side), "--output_dir", str(tmp_path / "out"), "--seed", "3")
    assert shuffled.returncode == 0 and "9 captions changed places" in shuffled.stdout, shuffled.stderr
    assert is_complete(tmp_path / "out", "00001")
    counted = run("inspect", "--shards", str(tmp_path / "web"), "--decode", "false")
    assert "samples: 11" in counted.stdout
    for arguments, message in [
        (["inspect", "--shards", str(tmp_path / "none")], "folder is missing"),
        (["inspect", "--shard", "x"], "shard"),
        (["turn"], "unknown command: found turn, wanted one of inspect, shuffle-sidecar"),
    ]:
        failed = run(*arguments)
        assert failed.returncode == 2 and message in failed.stderr and failed.stderr.count("\n") == 1, failed.stderr
