"""A captioning job from shards and folders to sidecars: rows, statuses, resume, workers, refusals."""

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from imagetext.sidecars import SIDECAR_SCHEMA, read_sidecar_table
from recaption import verbs
from recaption.__main__ import main
from recaption.config import RecaptionConfig, StatusConfig, VerifyConfig
from recaption.engine import writing
from recaption.engine_config import EngineConfig
from recaption.inputs.units import Unit
from runtime.entry import run_entry
from runtime.errors import UserError
from tests.recaption.conftest import jpeg


def job(model: Path, output_dir: Path, **fields: object) -> RecaptionConfig:
    engine = EngineConfig(supervised=False)
    defaults = {"max_new_tokens": 12, "batch_size": 4, "device": "cpu", "engine": engine}
    return RecaptionConfig(model=model, output_dir=output_dir, **{**defaults, **fields})  # type: ignore[arg-type]


def tables(folder: Path, names: Sequence[str] = ("00000", "00001", "00002")) -> dict[str, list[dict[str, object]]]:
    return {name: read_sidecar_table(folder, name).to_pylist() for name in names}


@pytest.fixture(scope="module")
def finished(model: Path, shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sidecars") / "side"
    verbs.run(job(model, folder, shards=str(shards)))
    return folder


def test_one_row_out_per_row_in_with_its_status_and_reason(finished: Path) -> None:
    rows = tables(finished)["00001"]
    assert [row["key"] for row in rows] == [f"00001000{index}" for index in (0, 1, 5, 2, 3, 4, 6)]
    statuses = {row["key"]: (row["status"], row["error_message"]) for row in rows if row["status"] != "success"}
    assert statuses["000010006"] == ("failed_to_download", "HTTP 404")
    assert statuses["000010005"][0] == "failed_to_decode"
    assert str(statuses["000010005"][1]).startswith(("truncated", "damaged"))
    for row in rows:
        assert (row["re_caption"] is not None) == (row["status"] == "success")
        assert row["uid"] == f"uid-{row['key']}" and row["sha256"] == f"recorded-{row['key']}"
        assert row["org_caption"] == f"alt {row['key']}"


def test_sidecar_columns_start_with_the_published_ones(finished: Path) -> None:
    names = read_sidecar_table(finished, "00000").column_names
    assert names == SIDECAR_SCHEMA.names
    row = tables(finished)["00000"][0]
    assert row["finish_reason"] in ("stop", "length") and 0 <= row["num_tokens"] <= 12 and row["mean_logprob"] <= 0
    assert row["re_clip_score"] is None and row["attempts"] == 1


@pytest.mark.slow
def test_captions_do_not_depend_on_workers(finished: Path, model: Path, shards: Path, tmp_path: Path) -> None:
    verbs.run(job(model, tmp_path / "side", shards=str(shards), workers=2, engine=EngineConfig()))
    assert tables(tmp_path / "side") == tables(finished)


def test_interrupted_job_continues_and_repeats_nothing(
    finished: Path, model: Path, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = job(model, tmp_path / "side", shards=str(shards))
    written: list[str] = []
    original = writing.finish_unit

    def write_until_killed(folder: Path, unit: Unit, *arguments: Any, **named: Any) -> None:
        if len(written) == 1:
            raise KeyboardInterrupt
        written.append(unit.name)
        original(folder, unit, *arguments, **named)

    def write(folder: Path, unit: Unit, *arguments: Any, **named: Any) -> None:
        written.append(unit.name)
        original(folder, unit, *arguments, **named)

    monkeypatch.setattr(writing, "finish_unit", write_until_killed)
    with pytest.raises(KeyboardInterrupt):
        verbs.run(config)
    assert not (tmp_path / "side" / "done.json").exists()
    monkeypatch.setattr(writing, "finish_unit", write)
    verbs.run(config)
    assert written == ["00000", "00001", "00002"]
    assert tables(tmp_path / "side") == tables(finished)
    verbs.run(config)
    assert len(written) == 3


def test_half_sidecars_of_a_killed_job_are_removed(model: Path, shards: Path, tmp_path: Path) -> None:
    side = tmp_path / "side"
    (side / "job").mkdir(parents=True)
    litter = [side / "00001.parquet.partial-7", side / "00000_stats.json.partial-7", side / "job" / "x.partial-7"]
    for path in litter:
        path.write_text("half")
    verbs.run(job(model, side, shards=str(shards)))
    assert not list(side.rglob("*.partial*")) and (side / "done.json").exists()


def test_another_captioner_is_refused(finished: Path, model: Path, shards: Path, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path / "other")
    settings = tmp_path / "other" / "generation_config.json"
    settings.write_text(settings.read_text() + "\n")
    message = r"differing in 'captioner_id': found [0-9a-f]{16}, wanted '[0-9a-f]{16}'\. The model's files differ"
    with pytest.raises(UserError, match=message):
        verbs.run(job(tmp_path / "other", finished, shards=str(shards)))


def test_another_prompt_is_refused(finished: Path, model: Path, shards: Path) -> None:
    with pytest.raises(UserError, match="differing in 'prompt'"):
        verbs.run(job(model, finished, shards=str(shards), prompt="What is it?"))


def test_changed_input_is_refused(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(jpeg(1))
    verbs.run(job(model, tmp_path / "side", images=folder))
    (folder / "b.jpg").write_bytes(jpeg(2))
    with pytest.raises(UserError, match="the input of unit 00000 changed"):
        verbs.run(job(model, tmp_path / "side", images=folder))


def test_a_folder_gives_every_file_its_row(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "photo.jpg").write_bytes(jpeg(1, (60, 15)))
    Image.new("RGBA", (9, 30), (255, 0, 0, 90)).save(folder / "deep" / "see-through.png")
    Image.new("L", (9, 9), 7).save(folder / "deep" / "er" / "grey.bmp")
    (folder / "notes.txt").write_text("not a picture")
    (folder / "empty.jpg").write_bytes(b"")
    (folder / ".hidden").write_bytes(jpeg(3))
    verbs.run(job(model, tmp_path / "side", images=folder, images_per_unit=3))
    rows = [row for table in tables(tmp_path / "side", ["00000", "00001"]).values() for row in table]
    statuses = {row["key"]: row["status"] for row in rows}
    assert statuses == {
        "deep/er/grey.bmp": "success",
        "deep/see-through.png": "success",
        "empty.jpg": "failed_to_decode",
        "notes.txt": "failed_to_decode",
        "photo.jpg": "success",
    }
    assert {row["key"]: row["error_message"] for row in rows}["empty.jpg"] == "empty"
    assert all(len(str(row["sha256"])) == 64 for row in rows)


def test_a_file_name_that_is_no_utf_8_is_captioned_under_a_key_that_is(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, seed in ((b"caf\xe9.jpg", 1), ("caf\u00e9.jpg".encode(), 2)):
        try:
            (folder / os.fsdecode(name)).write_bytes(jpeg(seed))
        except OSError:
            pytest.skip("this file system takes names in UTF-8 alone")
    verbs.run(job(model, tmp_path / "side", images=folder))
    digests = {row["key"]: row["sha256"] for row in tables(tmp_path / "side", ["00000"])["00000"]}
    expected = {"caf\\xe9.jpg": jpeg(1), "caf\u00e9.jpg": jpeg(2)}
    assert digests == {key: hashlib.sha256(data).hexdigest() for key, data in expected.items()}
    verbs.verify(VerifyConfig(output_dir=tmp_path / "side"))


def test_an_output_folder_among_the_pictures_is_refused(model: Path, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(1))
    (tmp_path / "link").symlink_to(tmp_path)
    for output_dir in (tmp_path, tmp_path / "side", tmp_path / "link" / "side"):
        with pytest.raises(UserError, match=r"output_dir: lies inside images.*wanted a folder outside"):
            job(model, output_dir, images=tmp_path)
    assert job(model, tmp_path.parent / f"{tmp_path.name}-side", images=tmp_path).images_per_unit == 256


def test_empty_folder_is_an_error(model: Path, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    with pytest.raises(UserError, match="the folder holds no files"):
        verbs.run(job(model, tmp_path / "side", images=tmp_path / "pictures"))


def test_exactly_one_input_is_wanted(model: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="found none, wanted exactly one"):
        job(model, tmp_path)
    with pytest.raises(UserError, match="found both, wanted exactly one"):
        job(model, tmp_path, images=tmp_path, shards="x")


def test_a_folder_that_is_no_model_is_named(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no model here: found no config\.json"):
        verbs.run(job(tmp_path, tmp_path / "side", shards=str(shards)))


@pytest.mark.parametrize("supervised", [False, True])
def test_captioner_whose_prompts_changed_is_refused_at_the_start(
    model: Path, shards: Path, tmp_path: Path, supervised: bool
) -> None:
    """Someone edits the chat template of a published captioner: it would be asked as it never was in training."""
    changed = tmp_path / "changed"
    shutil.copytree(model, changed)
    template = changed / "chat_template.jinja"
    template.write_text(template.read_text().replace("<|start_header_id|>assistant", "assistant"))
    message = r"changed: prompts are rendered otherwise than in training: found .*\[-<\|start_header_id\|>-\].*template"
    with pytest.raises(UserError, match=message):
        verbs.run(job(changed, tmp_path / "side", shards=str(shards), engine=EngineConfig(supervised=supervised)))
    assert not list((tmp_path / "side").glob("*.parquet"))


def test_status_counts_rows(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verbs.status(StatusConfig(output_dir=finished))
    said = capsys.readouterr().out
    assert "done, 3/3 units, 21 rows (success 15, failed_to_decode 3, failed_to_download 3)" in said
    assert "3 x failed_to_download: HTTP 404" in said and "slowest: 0000" in said


def test_verify_finds_nothing_wrong_with_a_finished_job(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verbs.verify(VerifyConfig(output_dir=finished))
    assert "3 units checked, 0 problems" in capsys.readouterr().out


def test_verify_notices_pictures_that_were_changed_under_their_names(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(jpeg(1))
    verbs.run(job(model, tmp_path / "side", images=folder))
    (folder / "a.jpg").write_bytes(jpeg(2, (30, 30)))
    with pytest.raises(SystemExit, match="1"):
        verbs.verify(VerifyConfig(output_dir=tmp_path / "side"))
    assert "00000_stats.json: the input is not the one that was captioned" in capsys.readouterr().out


def test_verify_notices_a_shard_that_was_written_again(
    finished: Path, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(shards, tmp_path / "moved")
    stats = tmp_path / "moved" / "00001_stats.json"
    stats.write_text(json.dumps({**json.loads(stats.read_text()), "tar_sha256": "another"}))
    with pytest.raises(SystemExit, match="1"):
        verbs.verify(VerifyConfig(output_dir=finished, shards=str(tmp_path / "moved")))
    said = capsys.readouterr().out
    assert "00001_stats.json: the input is not the one that was captioned" in said
    assert "3 units checked, 1 problems" in said


def test_moved_input_can_be_named(finished: Path, shards: Path, tmp_path: Path) -> None:
    shutil.copytree(shards, tmp_path / "moved")
    verbs.verify(VerifyConfig(output_dir=finished, shards=str(tmp_path / "moved")))
    with pytest.raises(UserError, match="no captioning job here"):
        verbs.verify(VerifyConfig(output_dir=tmp_path))


def test_photographs_of_all_kinds_get_their_rows(model: Path, tmp_path: Path) -> None:
    skimage_data = pytest.importorskip("skimage").__path__[0] + "/data"
    sklearn_data = pytest.importorskip("sklearn").__path__[0] + "/datasets/images"
    wanted = {"china.jpg", "flower.jpg", "chelsea.png", "coins.png", "multipage.tif", "no_time_for_that_tiny.gif"}
    (tmp_path / "photos").mkdir()
    for folder in (skimage_data, sklearn_data):
        for path in sorted(Path(folder).iterdir()):
            if path.name in wanted:
                shutil.copy(path, tmp_path / "photos")
    verbs.run(job(model, tmp_path / "side", images=tmp_path / "photos"))
    rows = tables(tmp_path / "side", ["00000"])["00000"]
    assert {row["key"] for row in rows} == wanted
    assert {row["status"] for row in rows} == {"success"}


@pytest.mark.parametrize(
    ("arguments", "exit_code", "said"),
    [
        (["--help"], 0, "usage: python -m recaption VERB"),
        (["paint"], 2, "unknown verb: found paint, wanted one of run, plan, status, verify, export, import"),
        (["run", "--output_dir", "x", "--model", "m", "--shards", "s", "--colour", "red"], 2, "colour"),
        (["run", "--output_dir", "x", "--model", "m", "--shards", "nowhere"], 2, "nowhere"),
        (["status", "nowhere"], 2, "nowhere: no captioning job here"),
        (["verify", "nowhere"], 2, "nowhere: no captioning job here"),
        (["export", "nowhere", "--output_dir", "x", "--format", "tar"], 2, "format"),
        (["import", "nowhere"], 2, "nowhere"),
        (["status", "--output_dir", "nowhere"], 2, "nowhere: no captioning job here"),
    ],
)
def test_command_line(
    arguments: list[str],
    exit_code: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["recaption", *arguments])
    code = 0
    try:
        run_entry(main)
    except SystemExit as left:
        code = int(left.code or 0)
    assert code == exit_code
    captured = capsys.readouterr()
    assert said in captured.out + captured.err
    assert len(captured.err.splitlines()) <= 1
