"""Files and folders are whole or absent."""

import json
import os
import platform

import pytest

from runtime import atomic


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "file.txt"
    atomic.write_text(path, "old")
    with pytest.raises(OSError, match="disk full"), atomic.atomic_path(path) as partial:
        assert partial.name == f"file.txt.partial-{platform.node()}-{os.getpid()}" and atomic.is_partial(partial)
        partial.write_text("half")
        raise OSError("disk full")
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["file.txt"]


def test_a_failed_folder_leaves_the_old_one(tmp_path):
    with atomic.atomic_directory(tmp_path / "a" / "folder") as partial:
        (partial / "sub").mkdir()
        (partial / "sub" / "file").write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic.atomic_directory(tmp_path / "a" / "folder") as partial:
        (partial / "file").write_text("new")
        raise KeyboardInterrupt
    assert [p.relative_to(tmp_path).as_posix() for p in sorted((tmp_path / "a").rglob("*"))] == [
        "a/folder",
        "a/folder/sub",
        "a/folder/sub/file",
    ]


def test_a_folder_is_replaced_whole(tmp_path):
    for text in ("old", "new"):
        with atomic.atomic_directory(tmp_path / "folder") as partial:
            (partial / text).write_text(text)
    assert [p.name for p in (tmp_path / "folder").iterdir()] == ["new"]
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_json_is_readable_text(tmp_path):
    atomic.write_json(tmp_path / "x.json", {"name": "Häuser", "n": [1, None]})
    assert json.loads((tmp_path / "x.json").read_text()) == {"name": "Häuser", "n": [1, None]}
    assert "Häuser" in (tmp_path / "x.json").read_text()


def test_litter_of_killed_processes_is_removed(tmp_path):
    (tmp_path / "a.partial-1").write_text("")
    (tmp_path / "b.partial-2").mkdir()
    (tmp_path / "c").write_text("")
    atomic.remove_partials(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["c"]


def test_what_one_dead_process_left_is_removed_and_that_of_others_kept(tmp_path):
    for name in (f"a.partial-{platform.node()}-7", f"a.partial-{platform.node()}-77", "a.partial-elsewhere-7"):
        (tmp_path / name).write_text("half")
    atomic.remove_partials_of(tmp_path, 7)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        [f"a.partial-{platform.node()}-77", "a.partial-elsewhere-7"]
    )
