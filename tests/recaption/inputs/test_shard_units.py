"""Shards as units: DataComp's names, URLs, and tars as they are found in the wild."""

import json
import time
from pathlib import Path

import fsspec
import pytest

from imagetext import files
from recaption.inputs.shard_units import ShardUnit, list_shard_units
from runtime.errors import UserError
from tests.recaption.tars import sample, write_parquet, write_stats, write_tar

NAME = "00000012"
KEYS = [f"{NAME}{index:04d}" for index in range(4)]


def statuses(unit: ShardUnit) -> dict[str, str]:
    return {row.key: row.status for row in unit.rows()}


def datacomp(folder: Path) -> ShardUnit:
    """One shard as DataComp's downloader names it: digits, keys, a failed download, columns of its own."""
    write_tar(folder / f"{NAME}.tar", [file for key in KEYS[:3] for file in sample(key, key.encode())])
    listed = [
        {
            "key": key,
            "uid": f"{index:032x}",
            "url": f"http://images.test/{key}",
            "text": f"alt {key}",
            "status": "success" if index < 3 else "failed_to_download",
            "error_message": None if index < 3 else "HTTP 404",
            "sha256": f"recorded {key}" if index < 3 else None,
            "original_width": 640 if index < 3 else None,
            "face_bboxes": [[0.0, 0.1, 0.2, 0.3]],
        }
        for index, key in enumerate(KEYS)
    ]
    write_parquet(folder / f"{NAME}.parquet", listed)
    write_stats(folder / f"{NAME}_stats.json", successes=3, count=4)
    [unit] = list_shard_units(str(folder))
    return unit


def test_a_shard_of_datacomp_gives_every_row_attempted(tmp_path: Path) -> None:
    unit = datacomp(tmp_path)
    rows = list(unit.rows())
    assert unit.name == NAME and unit.count_rows() == 4 == len(rows)
    assert [row.key for row in rows] == KEYS == unit.keys()
    assert [row.image for row in rows] == [*(key.encode() for key in KEYS[:3]), None]
    first, last = rows[0], rows[3]
    assert (first.uid, first.sha256, first.caption) == (f"{0:032x}", f"recorded {KEYS[0]}", f"alt {KEYS[0]}")
    assert (last.status, last.error_message) == ("failed_to_download", "HTTP 404")
    assert first.columns == {"original_width": 640, "face_bboxes": [[0.0, 0.1, 0.2, 0.3]]}
    assert list(unit.column_types()) == ["original_width", "face_bboxes"]


@pytest.mark.parametrize("protocol", ["memory", "file"])
def test_shards_are_read_by_url(tmp_path: Path, protocol: str) -> None:
    local = datacomp(tmp_path / "web")
    url = f"file://{tmp_path / 'web'}" if protocol == "file" else "memory://shards-by-url/web"
    if protocol == "memory":
        fsspec.filesystem("memory").put(str(tmp_path / "web"), "/shards-by-url/", recursive=True)
    [unit] = list_shard_units(url)
    assert list(unit.rows()) == list(local.rows())
    assert (unit.name, unit.count_rows(), unit.fingerprint()) == (local.name, local.count_rows(), local.fingerprint())


def test_a_connection_that_is_cut_is_no_short_tar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datacomp(tmp_path / "web")
    memory = fsspec.filesystem("memory")
    memory.put(str(tmp_path / "web"), "/cut-connection/", recursive=True)
    monkeypatch.setattr(files, "_COPY_PAUSES_SECONDS", (0.0, 0.0))
    size, asked = memory.size, []
    monkeypatch.setattr(type(memory), "size", lambda self, path: asked.append(path) or size(path) + 1)
    [unit] = list_shard_units("memory://cut-connection/web")
    with pytest.raises(OSError, match=r"00000012\.tar: \d+ of \d+ bytes came"):
        list(unit.rows())
    assert len(asked) == 3, "tried again before it gives up"


class PayloadError(Exception):
    """What a client of some server raises: no OSError."""


@pytest.mark.parametrize("num_failures", [2, 3])
def test_whatever_a_remote_file_system_raises_is_tried_again_and_told_as_a_lost_connection(
    num_failures: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datacomp(tmp_path / "web")
    memory = fsspec.filesystem("memory")
    memory.put(str(tmp_path / "web"), "/client-errors/", recursive=True)
    monkeypatch.setattr(files, "_COPY_PAUSES_SECONDS", (0.0, 0.0))
    size, asked = memory.size, list[str]()

    def failing(self: object, path: str) -> int:
        asked.append(path)
        if len(asked) <= num_failures:
            raise PayloadError("half a body")
        return int(size(path))

    monkeypatch.setattr(type(memory), "size", failing)
    [unit] = list_shard_units("memory://client-errors/web")
    if num_failures == 2:
        assert len(list(unit.rows())) == 4
    else:
        with pytest.raises(ConnectionError, match=r"00000012\.tar: PayloadError: half a body"):
            list(unit.rows())


def test_gaps_in_the_numbers_and_names_of_both_kinds_are_taken_as_they_are(tmp_path: Path) -> None:
    for name in ("00000", "00007", "00000123"):
        write_tar(tmp_path / f"{name}.tar", sample(f"{name}0000"))
        write_stats(tmp_path / f"{name}_stats.json", successes=1)
    assert [unit.name for unit in list_shard_units(str(tmp_path))] == ["00000", "00000123", "00007"]


def test_an_unsorted_tar_gives_whole_samples(tmp_path: Path) -> None:
    parts = [sample(key, key.encode(), uid=f"uid {key}") for key in KEYS]
    write_tar(tmp_path / "0.tar", [part[index] for index in range(3) for part in parts])
    [unit] = list_shard_units(str(tmp_path))
    assert [(row.key, row.image, row.uid, row.caption) for row in unit.rows()] == [
        (key, key.encode(), f"uid {key}", f"alt {key}") for key in KEYS
    ]


def test_a_key_that_comes_twice_in_a_tar_is_two_rows(tmp_path: Path) -> None:
    twice = [*sample("a", b"one"), *sample("b"), *sample("a", b"other"), *sample("a", b"third")]
    write_tar(tmp_path / "0.tar", twice)
    [unit] = list_shard_units(str(tmp_path))
    rows = list(unit.rows())
    assert [(row.key, row.status, row.image) for row in rows] == [
        ("a", "success", b"one"),
        ("b", "success", b"picture"),
        ("a#2", "duplicate_key", None),
        ("a#3", "duplicate_key", None),
    ]
    assert unit.keys() == [row.key for row in rows] and unit.count_rows() == 4
    assert rows[2].error_message == "row 2 of key a: which picture the key means can't be told, and the first was taken"


def test_a_key_that_a_parquet_lists_twice_is_two_rows(tmp_path: Path) -> None:
    write_tar(tmp_path / "0.tar", [*sample("a", b"one"), *sample("a", b"other")])
    write_parquet(tmp_path / "0.parquet", [{"key": "a"}, {"key": "a"}])
    [unit] = list_shard_units(str(tmp_path))
    assert statuses(unit) == {"a": "success", "a#2": "duplicate_key"} and unit.keys() == ["a", "a#2"]


def test_missing_json_and_captions_that_are_no_utf_8_cost_no_picture(tmp_path: Path) -> None:
    parts = [("a.jpg", b"1"), ("b.jpg", b"2"), ("b.txt", b"caf\xe9"), ("c.JPG", b"3"), ("c.json", b"{no json")]
    write_tar(tmp_path / "0.tar", parts)
    [unit] = list_shard_units(str(tmp_path))
    assert [(row.key, row.image, row.caption, row.uid) for row in unit.rows()] == [
        ("a", b"1", None, None),
        ("b", b"2", "caf\ufffd", None),
        ("c", b"3", None, None),
    ]


def test_a_sample_without_a_picture_is_a_row(tmp_path: Path) -> None:
    write_tar(tmp_path / "0.tar", [*sample("a", None), *sample("b")])
    write_tar(tmp_path / "listed" / "0.tar", [*sample("a", None), *sample("b")])
    write_parquet(tmp_path / "listed" / "0.parquet", [{"key": "a"}, {"key": "b"}])
    [of_tar], [of_parquet] = list_shard_units(str(tmp_path)), list_shard_units(str(tmp_path / "listed"))
    assert statuses(of_tar) == {"a": "no_image", "b": "success"}
    assert statuses(of_parquet) == {"a": "missing_from_tar", "b": "success"}
    assert next(of_parquet.rows()).error_message == "listed as a success, but only json, txt in the tar"


@pytest.mark.parametrize("kept_bytes", [0, 100, 512 + 40, 512 * 3, 512 * 6, 512 * 8 + 7, 512 * 12])
def test_what_a_cut_tar_lost_becomes_rows_when_the_parquet_names_it(tmp_path: Path, kept_bytes: int) -> None:
    """Every file takes a block for its header and one for its bytes: six a sample."""
    tar = write_tar(tmp_path / "0.tar", [file for key in KEYS for file in sample(key)])
    write_parquet(tmp_path / "0.parquet", [{"key": key, "status": "success"} for key in KEYS])
    tar.write_bytes(tar.read_bytes()[:kept_bytes])
    [unit] = list_shard_units(str(tmp_path))
    whole = sum(512 * 6 * index + 512 + len(b"picture") <= kept_bytes for index in range(4))
    rows = list(unit.rows())
    assert [row.status for row in rows] == ["success"] * whole + ["missing_from_tar"] * (4 - whole)
    assert rows[3].error_message is not None and "not in the tar; the tar of" in rows[3].error_message


def test_a_damaged_header_in_the_middle_is_no_end(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "0.tar", [file for key in KEYS for file in sample(key)])
    data = bytearray(tar.read_bytes())
    data[512 * 6 : 512 * 6 + 200] = bytes(range(200))
    tar.write_bytes(data)
    write_parquet(tmp_path / "0.parquet", [{"key": key} for key in KEYS])
    [unit] = list_shard_units(str(tmp_path))
    assert statuses(unit) == dict(zip(KEYS, ["success"] + ["missing_from_tar"] * 3, strict=True))


def test_without_a_parquet_a_cut_tar_is_refused(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "0.tar", [file for key in KEYS for file in sample(key)])
    tar.write_bytes(tar.read_bytes()[: 512 * 8])
    [unit] = list_shard_units(str(tmp_path))
    with pytest.raises(UserError, match=r"0\.tar: tar is truncated or damaged: .*put beside it the parquet"):
        list(unit.rows())
    write_tar(tmp_path / "0.tar", sample("a"))
    write_stats(tmp_path / "0_stats.json", successes=2)
    [unit] = list_shard_units(str(tmp_path))
    with pytest.raises(UserError, match=r"0\.tar: tar disagrees with its stats: found 1 samples, wanted 2"):
        _ = unit.count_rows()


def test_samples_that_a_parquet_does_not_list_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_tar(tmp_path / "0.tar", [*sample("a"), *sample("b"), *sample("c")])
    write_parquet(tmp_path / "0.parquet", [{"key": "b"}])
    [unit] = list_shard_units(str(tmp_path))
    assert statuses(unit) == {"b": "success"} and unit.count_rows() == 1
    assert "0.tar: 2 samples that its parquet does not list are left out: a, c" in capsys.readouterr().err


def test_columns_of_a_tar_alone_come_from_its_json(tmp_path: Path) -> None:
    write_tar(tmp_path / "0.tar", sample("a", uid="u", score=0.5, tags=["x"], status="success"))
    [row] = list_shard_units(str(tmp_path))[0].rows()
    assert row.uid == "u" and row.columns == {"score": 0.5, "tags": json.dumps(["x"])}


def test_shards_without_stats_beside_shards_with_stats_are_refused(tmp_path: Path) -> None:
    for name in ("00000", "00001"):
        write_tar(tmp_path / f"{name}.tar", sample(name))
    write_stats(tmp_path / "00000_stats.json", successes=1)
    with pytest.raises(UserError, match=r"00001\.tar: shard has no 00001_stats\.json"):
        list_shard_units(str(tmp_path))


def test_listing_opens_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{index:08d}{end}" for index in range(3000) for end in (".tar", ".parquet", "_stats.json")]
    monkeypatch.setattr(files, "list_names", lambda folder: names)
    for opening in ("open_binary", "open_local", "exists", "size_bytes"):
        monkeypatch.setattr(files, opening, None)
    started = time.process_time()
    assert len(list_shard_units("s3://far/away")) == 3000
    assert time.process_time() - started < 1
