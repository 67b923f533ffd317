"""Which runs are finished, and by which commits of the code."""

import json
from pathlib import Path

import pytest

from eval.commits import unlike_commits
from eval.registry import Experiments, RunEntry
from eval.runs import finished_folders
from eval.tables.size_tables import served_table


def touch(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()


def test_captions_of_one_shard_are_no_finished_set(tmp_path: Path) -> None:
    web = RunEntry(name="web", stage="recaption", captions="web")
    folder = tmp_path / "recaption" / "web"
    touch(folder, "00000.parquet", "00000_stats.json")
    assert finished_folders(tmp_path, [web]) == []
    touch(folder, "done.json")
    assert finished_folders(tmp_path, [web]) == [folder]


def test_shuffled_captions_are_finished_with_the_last_shard_of_their_source(tmp_path: Path) -> None:
    shuffled = RunEntry(name="web_k3", stage="recaption", recipe="shuffle", captions="web")
    assert finished_folders(tmp_path, [shuffled]) == []
    touch(tmp_path / "recaption" / "web", "00000.parquet", "00001.parquet")
    folder = tmp_path / "recaption" / "web_k3"
    touch(folder, "00000.parquet", "00000_stats.json", "00001.parquet")
    assert finished_folders(tmp_path, [shuffled]) == []
    touch(folder, "00001_stats.json")
    assert finished_folders(tmp_path, [shuffled]) == [folder]


def finished_run(root: Path, name: str, *commits: str | None) -> RunEntry:
    folder = root / "clip" / name
    folder.mkdir(parents=True)
    (folder / "provenance.json").write_text(json.dumps({"starts": [{"commit": commit} for commit in commits]}))
    (folder / "done.json").write_text("{}")
    return RunEntry(name=name, stage="clip")


@pytest.mark.parametrize(
    ("commits", "said"),
    [
        ([["a" * 40], ["a" * 40]], None),
        ([["a" * 40], ["b" * 40], ["b" * 40]], "aaaaaaaaaa (1), bbbbbbbbbb (2)"),
        ([["a" * 40, "a" * 40 + "+changes"]], "aaaaaaaaaa (1), aaaaaaaaaa+changes (1)"),
        ([["a" * 40], [None]], "aaaaaaaaaa (1), unknown (1)"),
    ],
)
def test_unlike_commits_are_said_below_the_table_of_runs(
    tmp_path: Path, commits: list[list[str | None]], said: str | None
) -> None:
    runs = tuple(finished_run(tmp_path, f"run{index}", *starts) for index, starts in enumerate(commits))
    line = unlike_commits(finished_folders(tmp_path, runs))
    assert line is None if said is None else line is not None and line.endswith(f": {said}.")
    notes = served_table(tmp_path, Experiments(preset="mini", runs=runs)).notes
    assert notes == (() if line is None else (line,))


def test_folders_without_provenance_say_nothing_of_commits(tmp_path: Path) -> None:
    finished_run(tmp_path, "run", "a" * 40)
    assert unlike_commits([tmp_path / "data", tmp_path / "clip" / "run"]) is None
