"""Many processes fill one folder: the manifest that they agree on, parts, resume by one listing, one completion."""

import dataclasses
import json
import re
import shutil
from importlib import metadata
from pathlib import Path

import pytest

from recaption import verbs
from recaption.config import RecaptionConfig, VerifyConfig
from recaption.inputs.opening import open_units
from recaption.job import folder as job_folder
from recaption.job import manifest as job_manifest
from recaption.job.folder import open_job
from recaption.job.manifest import MANIFEST, describe_job, join_job, read_manifest
from recaption.job.marks import UnitMark, finished_names, list_folder
from runtime.errors import UserError
from runtime.json_files import read_object
from tests.recaption.job.made_jobs import caption, config_of, finished_job, run, write_shards


@pytest.fixture
def config(tmp_path: Path) -> RecaptionConfig:
    write_shards(tmp_path / "shards", 5)
    return config_of(tmp_path)


def done(config: RecaptionConfig) -> bool:
    return (config.output_dir / "done.json").exists()


def test_parts_fill_one_folder_and_the_last_writes_the_completion(config: RecaptionConfig) -> None:
    parts = [dataclasses.replace(config, part=f"{index}/3") for index in range(3)]
    assert [run(part) for part in parts[:2]] == [["00000", "00003"], ["00001", "00004"]]
    assert not done(config)
    assert run(parts[2]) == ["00002"]
    facts = read_object(config.output_dir / "done.json")
    assert (facts["num_units"], facts["num_rows"]) == (5, 25)
    assert facts["statuses"] == {"failed_to_download": 5, "success": 20}
    assert [run(part) for part in parts] == [[], [], []] and run(config) == []


def test_a_part_does_not_move_when_others_finish(config: RecaptionConfig) -> None:
    part = dataclasses.replace(config, part="1/2")
    job = open_job(part)
    next(caption(part, job.pending))
    job.lock.close()
    run(dataclasses.replace(config, part="0/2"))
    assert run(part) == ["00003"]
    assert done(config)


def test_parts_that_end_at_the_same_moment_both_may_complete_the_job(config: RecaptionConfig) -> None:
    jobs = []
    for index in range(2):
        part = dataclasses.replace(config, part=f"{index}/2")
        job = open_job(part)
        list(caption(part, job.pending))
        jobs.append(job)
    assert not done(config)
    jobs[1].finish()
    first = (config.output_dir / "done.json").read_bytes()
    jobs[0].finish()
    assert (config.output_dir / "done.json").read_bytes() == first


def test_a_start_opens_no_more_marks_of_a_long_job_than_it_compares(
    config: RecaptionConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(config)
    read: list[str] = []
    original = job_folder.read_unit_mark
    monkeypatch.setattr(job_folder, "_CHECKED_AT_START", 3)

    def noted(folder: Path, name: str) -> UnitMark:
        read.append(name)
        return original(folder, name)

    monkeypatch.setattr(job_folder, "read_unit_mark", noted)
    assert open_job(config).pending == []
    assert read == ["00000", "00002", "00004"]


@pytest.mark.parametrize("damaged", [0, 4])
def test_a_finished_unit_of_another_input_is_refused(config: RecaptionConfig, damaged: int) -> None:
    run(config)
    stats = Path(str(config.shards)) / f"0000{damaged}_stats.json"
    stats.write_text(json.dumps({**json.loads(stats.read_text()), "tar_sha256": "another"}))
    with pytest.raises(UserError, match=f"the input of unit 0000{damaged} changed: found another, wanted "):
        open_job(config)


def test_an_input_that_grew_is_continued(config: RecaptionConfig, tmp_path: Path) -> None:
    run(config)
    write_shards(tmp_path / "more", 6)
    for path in (tmp_path / "more").glob("00005*"):
        shutil.copy(path, str(config.shards))
    job = open_job(config)
    assert not done(config) and [unit.name for unit in job.pending] == ["00005"]


@pytest.mark.parametrize(
    ("field", "value", "found", "wanted"),
    [
        ("prompt", "What?", r"\S+ \S+ ", "'What?'"),
        ("max_new_tokens", 60, "128", "60"),
        ("batch_size", 8, "64", "8"),
        ("precision", "fp32", "bf16", "'fp32'"),
        ("threads", 2, "1", "2"),
        ("images_per_unit", 16, "256", "16"),
        ("deterministic", False, "True", "False"),
    ],
)
def test_another_setting_is_refused_by_field(
    config: RecaptionConfig, field: str, value: object, found: str, wanted: str
) -> None:
    run(config)
    other = dataclasses.replace(config, **{field: value})  # type: ignore[arg-type]
    with pytest.raises(
        UserError, match=f"another captioner's, differing in '{field}': found {found}.*wanted {re.escape(wanted)}"
    ):
        open_job(other)


def test_what_may_differ_is_not_refused(config: RecaptionConfig, tmp_path: Path) -> None:
    run(config)
    shutil.copytree(str(config.shards), tmp_path / "moved")
    shutil.copytree(config.model, tmp_path / "model2")
    other = dataclasses.replace(
        config, shards=str(tmp_path / "moved"), model=tmp_path / "model2", workers=3, device="auto", executor="ray"
    )
    assert open_job(other).pending == []


def test_another_library_is_refused_where_it_is_met(config: RecaptionConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    run(config)
    there = metadata.version("torch")
    monkeypatch.setattr(job_manifest, "_version", lambda name: "9.9" if name == "torch" else metadata.version(name))
    message = rf"differing in 'versions\.torch': found {there}, wanted '9\.9'\. Install the version found"
    with pytest.raises(UserError, match=message):
        join_job(config, read_manifest(config.output_dir).captioner_id)
    with pytest.raises(UserError, match=message):
        open_job(config)


def test_another_decoder_is_refused_where_it_is_met(config: RecaptionConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    run(config)
    monkeypatch.setattr(job_manifest, "identify_image_policy", lambda: "other pixels")
    with pytest.raises(UserError, match=r"'image_policy': found \w{16}, wanted 'other pixels'.*the same codecs"):
        join_job(config, read_manifest(config.output_dir).captioner_id)


def test_a_worker_with_another_model_is_refused(config: RecaptionConfig) -> None:
    run(config)
    assert join_job(config, read_manifest(config.output_dir).captioner_id) == read_manifest(config.output_dir)
    with pytest.raises(UserError, match="differing in 'captioner_id'"):
        join_job(config, "another")


def test_a_worker_that_does_not_share_the_folder_is_refused(config: RecaptionConfig, tmp_path: Path) -> None:
    elsewhere = dataclasses.replace(config, output_dir=tmp_path / "local")
    with pytest.raises(UserError, match=r"no captioning job here: found no job/manifest\.json"):
        join_job(elsewhere, "x")


def test_the_manifest_is_as_short_for_many_units_as_for_few(config: RecaptionConfig) -> None:
    few, many = (describe_job(config, "x", count) for count in (1, 130_000))
    assert few.sha256 == many.sha256 and few.shaped_by == many.shaped_by
    assert set(config.__dataclass_fields__) - {name.split(".")[0] for name in few.shaped_by} == {
        name for name in job_manifest.PLACES_AND_WORKERS if "." not in name
    }


def test_a_job_that_made_nothing_leaves_its_folder_to_a_corrected_one(config: RecaptionConfig) -> None:
    open_job(config).lock.close()
    other = dataclasses.replace(config, prompt="What?")
    open_job(other).lock.close()
    assert read_manifest(config.output_dir).shaped_by["prompt"] == "What?"


def test_a_part_removes_only_what_itself_left_half_written(config: RecaptionConfig) -> None:
    open_job(config).lock.close()
    for name in ("00000.parquet", "00001.parquet", "00001_stats.json"):
        (config.output_dir / f"{name}.partial-host-7").write_text("half")
    open_job(dataclasses.replace(config, part="1/2")).lock.close()
    assert list_folder(config.output_dir).partials == ["00000.parquet.partial-host-7"]
    open_job(config).lock.close()
    assert list_folder(config.output_dir).partials == []


def test_marks_alone_tell_what_is_finished(config: RecaptionConfig) -> None:
    job = open_job(config)
    (config.output_dir / "00002.parquet").write_bytes(b"written, but its mark is not")
    assert finished_names(config.output_dir) == set()
    list(caption(config, job.pending[:1]))
    job.lock.close()
    assert finished_names(config.output_dir) == {"00000"}
    assert [unit.name for unit in open_job(config).pending] == ["00001", "00002", "00003", "00004"]


def test_a_mark_without_its_sidecar_finishes_nothing(config: RecaptionConfig) -> None:
    run(config)
    (config.output_dir / "00003.parquet").unlink()
    assert list_folder(config.output_dir).orphans == {"00003"}
    assert run(config) == ["00003"] and done(config)
    assert (config.output_dir / "00003.parquet").exists() and not list_folder(config.output_dir).orphans


def test_whoever_comes_second_leaves_a_finished_unit_as_it_is(config: RecaptionConfig) -> None:
    """Two workers on one unit: where locks do not reach, and when a captioner given up for lost was only slow."""
    job = open_job(config)
    list(caption(config, job.pending))
    before = {path.name: path.stat().st_mtime_ns for path in config.output_dir.glob("0*")}
    list(caption(config, job.pending))
    assert {path.name: path.stat().st_mtime_ns for path in config.output_dir.glob("0*")} == before
    job.finish()
    assert done(config)


def test_a_mark_of_another_job_is_refused_when_it_is_met(config: RecaptionConfig) -> None:
    run(config)
    mark = config.output_dir / "00002_stats.json"
    mark.write_text(json.dumps({**json.loads(mark.read_text()), "manifest_sha256": "f" * 64}))
    message = r"00002_stats\.json: unit 00002 was captioned under another manifest: found f{16}, wanted \w{16}"
    with pytest.raises(UserError, match=message):
        open_job(config)


def test_a_mark_of_another_job_keeps_a_job_from_being_done(
    config: RecaptionConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_folder, "_CHECKED_AT_START", 0)
    job = open_job(config)
    list(caption(config, job.pending))
    mark = config.output_dir / "00002_stats.json"
    mark.write_text(json.dumps({**json.loads(mark.read_text()), "manifest_sha256": "f" * 64}))
    with pytest.raises(UserError, match="unit 00002 was captioned under another manifest"):
        job.finish()
    assert not done(config)


def test_marks_that_a_file_system_shows_late_are_waited_for(
    config: RecaptionConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = open_job(config)
    list(caption(config, job.pending))
    original, shown = job_folder.finished_names, iter([{"00000"}, {"00000", "00001"}])
    monkeypatch.setattr(job_folder.time, "sleep", lambda _: None)
    monkeypatch.setattr(job_folder, "finished_names", lambda folder: next(shown, None) or original(folder))
    job.finish()
    assert done(config)


def test_a_job_whose_mark_vanished_does_not_end_as_if_all_were_well(
    config: RecaptionConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_folder, "_LATE_SECONDS", 0.0)
    job = open_job(config)
    list(caption(config, job.pending))
    (config.output_dir / "00003_stats.json").unlink()
    with pytest.raises(OSError, match="00003 was captioned and has no mark: start the job again"):
        job.finish()
    job.lock.close()
    assert run(config) == ["00003"] and done(config)


def test_a_job_folder_may_be_moved(config: RecaptionConfig, tmp_path: Path) -> None:
    job = open_job(config)
    list(caption(config, job.pending[:3]))
    job.lock.close()
    config.output_dir.rename(tmp_path / "moved")
    moved = dataclasses.replace(config, output_dir=tmp_path / "moved")
    assert run(moved) == ["00003", "00004"] and done(moved)
    verbs.verify(VerifyConfig(output_dir=moved.output_dir))


def test_a_unit_whose_rows_do_not_reconcile_is_not_finished(config: RecaptionConfig) -> None:
    from recaption.job.marks import finish_unit

    unit = open_units(config)[0]
    with pytest.raises(UserError, match=r"00000: rows do not reconcile: found 0 rows, wanted 5"):
        finish_unit(config.output_dir, unit, [], manifest_sha256="", wall_seconds=0.0, stage_seconds={})
    assert finished_names(config.output_dir) == set()


def test_marks_hold_what_status_and_verify_need(tmp_path: Path) -> None:
    config = finished_job(tmp_path, 1)
    mark = read_object(config.output_dir / "00000_stats.json")
    assert mark["reasons"] == {"failed_to_download: HTTP 404": 1}
    assert mark["input_fingerprint"] == open_units(config)[0].fingerprint()
    assert mark["manifest_sha256"] == read_object(config.output_dir / MANIFEST)["sha256"]
    assert mark["stage_seconds"] == {"captioning": 1.5} and mark["finished_at"] > 1.7e9
