"""Damaged, missing and misplaced data: every stage that reads them names the file in one line, with code 2."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from imagetext.sidecars import write_sidecar
from tests.damage import cut, remove, scribble
from tests.good_inputs import GoodInputs
from tests.refusal import Refused

SHARD_READERS = ("imagetext inspect", "clip_train", "dit_train", "recaption run")
SIDECAR_READERS = ("imagetext inspect", "clip_train", "dit_train")


def shards_flag(stage: str) -> str:
    return "--data.shards" if stage in ("clip_train", "dit_train") else "--shards"


def sidecar_flag(stage: str) -> str:
    if stage == "imagetext shuffle-sidecar":
        return "--sidecar"
    return "--sidecars.recaption" if stage == "imagetext inspect" else "--data.sidecars.recaption"


def output(stage: str, folder: Path) -> list[str]:
    return [] if stage == "imagetext inspect" else [f"--output_dir={folder / 'output'}"]


def _garble_stats(path: Path) -> None:
    path.write_text('{"count": 8}')


SHARD_DAMAGES: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "tar missing": ("00001.tar", remove, "00001.tar: shard's tar is missing"),
    "stats missing": ("00001_stats.json", remove, "00001.tar: shard has no 00001_stats.json"),
    "tar truncated": ("00001.tar", cut, "00001.tar: tar is truncated or damaged"),
    "no tar": ("00001.tar", scribble, "00001.tar: tar is truncated or damaged"),
    "stats garbled": ("00001_stats.json", _garble_stats, "00001_stats.json: stats file can't be read"),
    "stats no JSON": ("00001_stats.json", scribble, "00001_stats.json: stats file can't be read"),
}


TOLD_IN_ROWS = ("tar truncated", "no tar")
"""Damages that a captioner turns into rows, since the shard's parquet names what is lost."""


@pytest.mark.parametrize(
    ("stage", "damage"),
    [(s, d) for s in SHARD_READERS for d in SHARD_DAMAGES if s != "recaption run" or d not in TOLD_IN_ROWS],
)
def test_a_damaged_shard_is_named(stage: str, damage: str, good: GoodInputs, refused: Refused, tmp_path: Path) -> None:
    shutil.copytree(good.shards, tmp_path / "shards")
    name, break_it, expected = SHARD_DAMAGES[damage]
    break_it(tmp_path / "shards" / name)
    arguments = [*good.arguments(stage), f"{shards_flag(stage)}={tmp_path / 'shards'}"]
    assert f"{tmp_path / 'shards'}/{expected}" in refused(stage, *arguments, *output(stage, tmp_path))


@pytest.mark.parametrize("stage", SHARD_READERS)
def test_a_folder_without_shards_is_named(stage: str, good: GoodInputs, refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("no folder")
    for name, expected in {
        "empty": "folder holds no shards: wanted NNNNN.tar",
        "file": "no folder: found a file, wanted a folder",
        "nowhere": "folder is missing",
    }.items():
        arguments = [*good.arguments(stage), f"{shards_flag(stage)}={tmp_path / name}"]
        assert f"{tmp_path / name}: {expected}" in refused(stage, *arguments, *output(stage, tmp_path))


@pytest.mark.parametrize("stage", SHARD_READERS)
def test_a_url_that_cannot_be_opened_is_named(stage: str, good: GoodInputs, refused: Refused, tmp_path: Path) -> None:
    arguments = [*good.arguments(stage), f"{shards_flag(stage)}=s4://bucket/web"]
    said = refused(stage, *arguments, *output(stage, tmp_path))
    assert "s4://bucket/web: URL can't be opened: found Protocol not known: s4" in said


def _other_columns(path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.table({"key": ["000010000"], "text": ["a caption"]}), path)


def test_a_refused_command_leaves_its_folder_to_the_corrected_one(
    good: GoodInputs, refused: Refused, tmp_path: Path
) -> None:
    arguments = good.arguments("clip_train")
    refused("clip_train", *arguments, "--data.shards=mistyped", *output("clip_train", tmp_path))
    assert (tmp_path / "output" / "config.yaml").exists()
    good.run("clip_train", *arguments, *output("clip_train", tmp_path))
    assert (tmp_path / "output" / "done.json").exists()


SIDECAR_DAMAGES: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "parquet missing": ("00001.parquet", remove, "sidecar of shard 00001 is missing"),
    "mark missing": ("00001_stats.json", remove, "unfinished"),
    "parquet truncated": ("00001.parquet", cut, "00001.parquet: parquet is damaged"),
    "other columns": ("00001.parquet", _other_columns, "00001.parquet: parquet has no column re_caption"),
}


@pytest.mark.parametrize("damage", SIDECAR_DAMAGES)
@pytest.mark.parametrize("stage", SIDECAR_READERS)
def test_a_damaged_sidecar_is_named(
    stage: str, damage: str, good: GoodInputs, refused: Refused, tmp_path: Path
) -> None:
    shutil.copytree(good.sidecar, tmp_path / "sidecar")
    name, break_it, expected = SIDECAR_DAMAGES[damage]
    break_it(tmp_path / "sidecar" / name)
    arguments = [*good.arguments(stage), f"{sidecar_flag(stage)}={tmp_path / 'sidecar'}"]
    said = refused(stage, *arguments, *output(stage, tmp_path))
    assert f"{tmp_path / 'sidecar'}" in said and expected in said


@pytest.mark.parametrize("stage", [*SIDECAR_READERS, "imagetext shuffle-sidecar"])
def test_a_sidecar_folder_that_is_none_is_named(stage: str, good: GoodInputs, refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("no folder")
    for name in ("empty", "file", "nowhere"):
        arguments = [*good.arguments(stage), f"{sidecar_flag(stage)}={tmp_path / name}"]
        assert f"{tmp_path / name}" in refused(stage, *arguments, *output(stage, tmp_path))


@pytest.mark.parametrize("stage", ["clip_train", "dit_train"])
def test_a_sidecar_of_other_shards_is_refused(stage: str, good: GoodInputs, refused: Refused, tmp_path: Path) -> None:
    for name in ("00000", "00001"):
        write_sidecar(tmp_path / "sidecar", name, [{"key": "999990000", "re_caption": "Of another web."}])
    arguments = [*good.arguments(stage), f"--data.sidecars.recaption={tmp_path / 'sidecar'}"]
    said = refused(stage, *arguments, *output(stage, tmp_path))
    assert f"{tmp_path / 'sidecar'}: sidecar of shard 00000 has no row for any of its samples" in said


@pytest.mark.parametrize("stage", ["clip_train", "dit_train"])
def test_a_caption_source_that_does_not_exist_is_named(
    stage: str, good: GoodInputs, refused: Refused, tmp_path: Path
) -> None:
    said = refused(stage, *good.arguments(stage), "--mix.others={poem: 1.0}", *output(stage, tmp_path))
    assert "caption source poem does not exist: wanted one of original, recaption" in said
    assert "data.sidecars.poem" in said
    assert not (tmp_path / "output").exists()


def test_conversations_that_are_wrong_are_named(good: GoodInputs, refused: Refused, tmp_path: Path) -> None:
    damages: dict[str, tuple[Callable[[dict[str, object]], object], str]] = {
        "no turns": (lambda record: record.pop("conversations"), "record 3: record is no conversation"),
        "no id": (lambda record: record.pop("id"), "record 3: record has no id"),
        "turns no list": (lambda record: record.update(conversations=7), "record 3"),
    }
    for name, (damage, expected) in damages.items():
        folder = tmp_path / name
        shutil.copytree(good.conversations, folder)
        records = json.loads((folder / "align.json").read_text())
        damage(records[3])
        (folder / "align.json").write_text(json.dumps(records))
        said = refused("llava_train", *good.arguments("llava_train"), f"--data={folder}", *output("", folder))
        assert expected in said and str(folder) in said


def test_a_conversation_file_that_is_none_is_named(good: GoodInputs, refused: Refused, tmp_path: Path) -> None:
    for name, content, expected in (
        ("list", "{}", "file is not a list of records"),
        ("json", "[{", "file is not JSON"),
        ("empty", "[]", "file holds no conversations"),
        ("bytes", "\x00", "file is not JSON"),
    ):
        folder = tmp_path / name
        shutil.copytree(good.conversations, folder)
        (folder / "align.json").write_text(content)
        said = refused("llava_train", *good.arguments("llava_train"), f"--data={folder}", *output("", folder))
        assert f"{folder / 'align.json'}: {expected}" in said
    (tmp_path / "bare").mkdir()
    said = refused("llava_train", *good.arguments("llava_train"), f"--data={tmp_path / 'bare'}", *output("", tmp_path))
    assert f"{tmp_path / 'bare' / 'text.json'}: no conversations for phase language: found no such file" in said


def test_pictures_that_are_missing_stop_a_captioner(good: GoodInputs, refused: Refused, tmp_path: Path) -> None:
    shutil.copytree(good.conversations, tmp_path / "data")
    shutil.rmtree(tmp_path / "data" / "images")
    said = refused("llava_train", *good.arguments("llava_train"), f"--data={tmp_path / 'data'}", *output("", tmp_path))
    assert f"{tmp_path / 'data' / 'images' / '0.png'}: the picture of conversation 'align-0' is missing" in said


def test_pictures_that_are_none_stop_a_captioner(good: GoodInputs, refused: Refused, tmp_path: Path) -> None:
    shutil.copytree(good.conversations, tmp_path / "data")
    for picture in (tmp_path / "data" / "images").iterdir():
        picture.write_text("not a picture")
    said = refused("llava_train", *good.arguments("llava_train"), f"--data={tmp_path / 'data'}", *output("", tmp_path))
    assert f"{tmp_path / 'data' / 'images'}: too many bad samples" in said and "wanted at most 1.0%" in said


def test_a_folder_of_pictures_that_is_none_is_named(good: GoodInputs, refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("no folder")
    arguments = [each for each in good.arguments("recaption run") if "--shards" not in str(each)]
    for name, expected in {"empty": "the folder holds no files", "file": "no such folder"}.items():
        said = refused("recaption run", *arguments, f"--images={tmp_path / name}", *output("", tmp_path))
        assert f"{tmp_path / name}: {expected}" in said


def test_an_output_folder_among_the_pictures_is_named(good: GoodInputs, refused: Refused, tmp_path: Path) -> None:
    arguments = [each for each in good.arguments("recaption run") if "--shards" not in str(each)]
    said = refused("recaption run", *arguments, f"--images={tmp_path}", *output("", tmp_path))
    assert f"output_dir: lies inside images, and would be captioned with them: found {tmp_path / 'output'}" in said
    assert not (tmp_path / "output").exists()


@pytest.mark.parametrize("verb", ["recaption status", "recaption verify"])
def test_a_job_that_is_none_or_damaged_is_named(verb: str, good: GoodInputs, refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "nowhere"):
        assert f"{folder}: no captioning job here" in refused(verb, f"--output_dir={folder}")
    shutil.copytree(good.job, tmp_path / "job")
    if verb == "recaption verify":
        said = refused(verb, f"--output_dir={tmp_path / 'job'}", f"--shards={tmp_path / 'empty'}")
        assert f"{tmp_path / 'empty'}: folder holds no shards" in said
    if verb == "recaption status":  # verify goes on to the next unit
        (tmp_path / "job" / "00000_stats.json").write_text("{")
        assert f"{tmp_path / 'job' / '00000_stats.json'}" in refused(verb, f"--output_dir={tmp_path / 'job'}")
    (tmp_path / "job" / "job" / "manifest.json").write_text("{}")
    assert f"{tmp_path / 'job' / 'job' / 'manifest.json'}" in refused(verb, f"--output_dir={tmp_path / 'job'}")


def test_a_small_web_begun_and_damaged_is_named(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "config.json").write_text("{")
    assert f"{tmp_path / 'web' / 'config.json'}" in refused("miniweb", f"--output_dir={tmp_path / 'web'}")
