"""Sidecars: schema, completion mark, join, and captions of other images refused."""

import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from imagetext.samples import Sample
from imagetext.sidecars import SIDECAR_SCHEMA, caption_of, read_sidecar, read_sidecar_table, write_sidecar
from runtime.errors import UserError

ROWS = [
    {"key": "a", "sha256": "1", "org_caption": "one two", "re_caption": "three four five", "flags": ["loop"]},
    {"key": "b", "sha256": "2", "re_caption": None, "status": "failed", "error_message": "not_an_image"},
    {"key": "c", "sha256": "3", "re_caption": "  "},
]


def sample(key: str, sha256: str | None = None) -> Sample:
    return Sample(key=key, dataset="web", shard="00000", image=b"", captions={}, sha256=sha256)


def test_published_columns_come_first() -> None:
    """The names of Recap-DataComp-1B, then ours."""
    published = "key uid url sha256 org_caption re_caption re_length org_length re_clip_score org_clip_score"
    assert SIDECAR_SCHEMA.names[:10] == published.split()


def test_round_trip_counts_lengths_and_leaves_the_rest_null(tmp_path: Path) -> None:
    path = write_sidecar(tmp_path, "00000", ROWS)
    rows = pyarrow.parquet.read_table(path).to_pylist()
    assert [(r["re_length"], r["org_length"], r["status"]) for r in rows] == [
        (3, 2, "success"),
        (None, None, "failed"),
        (0, None, "success"),
    ]
    assert rows[0]["re_clip_score"] is None and rows[0]["flags"] == ["loop"]
    mark = json.loads((tmp_path / "00000_stats.json").read_text())
    assert mark["count"] == 3 and mark["status_dict"] == {"failed": 1, "success": 2}


def test_join_by_key_counts_nothing_as_a_caption_but_a_caption(tmp_path: Path) -> None:
    write_sidecar(tmp_path, "00000", ROWS)
    rows = read_sidecar(tmp_path, "00000")
    captions = [caption_of(rows, sample(key), tmp_path) for key in ("a", "b", "c", "unknown")]
    assert captions == ["three four five", None, None, None]


def test_other_column_can_be_the_caption(tmp_path: Path) -> None:
    write_sidecar(tmp_path, "00000", ROWS)
    assert read_sidecar(tmp_path, "00000", "org_caption")["a"].caption == "one two"
    with pytest.raises(UserError, match=r"00000\.parquet: parquet has no column re_best: wanted one of key, uid"):
        read_sidecar(tmp_path, "00000", "re_best")


def test_captions_of_other_images_are_refused(tmp_path: Path) -> None:
    write_sidecar(tmp_path, "00000", ROWS)
    rows = read_sidecar(tmp_path, "00000")
    assert caption_of(rows, sample("a", "1"), tmp_path) == "three four five"
    with pytest.raises(UserError, match="written for other images: sha256 of web/a: found 1, wanted 9"):
        caption_of(rows, sample("a", "9"), tmp_path)


def test_foreign_table_without_status_or_digest(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.table({"key": ["a"], "re_caption": ["words"]}), tmp_path / "00000.parquet")
    (tmp_path / "00000_stats.json").write_text("{}")
    row = read_sidecar(tmp_path, "00000")["a"]
    assert (row.caption, row.sha256, row.status) == ("words", None, "success")


def test_missing_and_unfinished_sidecars_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"00000\.parquet: sidecar of shard 00000 is missing"):
        read_sidecar(tmp_path, "00000")
    write_sidecar(tmp_path, "00000", ROWS)
    (tmp_path / "00000_stats.json").unlink()
    with pytest.raises(UserError, match=r"sidecar is unfinished: wanted 00000_stats\.json beside it"):
        read_sidecar_table(tmp_path, "00000")


def test_damaged_parquet_is_named(tmp_path: Path) -> None:
    path = write_sidecar(tmp_path, "00000", ROWS)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"00000\.parquet: parquet is damaged"):
        read_sidecar(tmp_path, "00000")


def test_bad_rows_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="duplicate key in sidecar: found a"):
        write_sidecar(tmp_path, "00000", [ROWS[0], ROWS[0]])
    with pytest.raises(UserError, match=r"unknown sidecar columns: found \['caption'\]"):
        write_sidecar(tmp_path, "00000", [{"key": "a", "caption": "words"}])
    assert not list(tmp_path.iterdir())


def test_rewriting_takes_the_old_mark_away_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_sidecar(tmp_path, "00000", ROWS)

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pyarrow.parquet, "write_table", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_sidecar(tmp_path, "00000", ROWS)
    assert not (tmp_path / "00000_stats.json").exists() and not list(tmp_path.glob("*.partial*"))
