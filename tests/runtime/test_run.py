"""The run folder: one config for ever, provenance, completion mark, one writer."""

import json
import multiprocessing
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from runtime import patience
from runtime.errors import UserError
from runtime.loop_config import LoopConfig
from runtime.run import Run


@dataclass(frozen=True, kw_only=True)
class Config:
    output_dir: Path
    """Where."""
    width: int = 3
    """How wide."""
    shares: dict[str, float] = field(default_factory=lambda: {"original": 0.5})
    """Weights."""
    loop: LoopConfig = field(
        default_factory=lambda: LoopConfig(num_updates=5, batch_size=2, learning_rate=1e-3, device="cpu")
    )
    """The loop."""


@pytest.fixture
def asked(tmp_path):
    return Config(output_dir=tmp_path / "run")


def test_a_fresh_folder_gets_config_and_provenance(asked):
    run = Run.open(asked.output_dir, asked)
    assert not run.finished() and run.facts() == {} and run.progress() == {}
    assert "width: 3" in (run.folder / "config.yaml").read_text()
    (start,) = json.loads((run.folder / "provenance.json").read_text())["starts"]
    assert start["versions"]["torch"] and start["python"] and start["host"]["cpus"] >= 1
    assert set(start) == {"started", "command", "commit", "python", "versions", "host"}


def test_the_same_config_continues_and_is_noted(asked):
    first = Run.open(asked.output_dir, asked)
    again = Run.open(asked.output_dir, asked)
    assert again.config_sha256 == first.config_sha256
    assert len(json.loads((again.folder / "provenance.json").read_text())["starts"]) == 2


@pytest.mark.parametrize(
    ("changes", "name", "found", "wanted"),
    [
        ({"width": 4}, "width", "3", "4"),
        ({"shares": {"original": 0.7}}, "shares.original", "0.5", "0.7"),
        ({"shares": {"original": 0.5, "recaption": 1.0}}, "shares.recaption", "nothing", "1.0"),
        ({"shares": {}}, "shares.original", "0.5", "'nothing'"),
        ({"loop": LoopConfig(num_updates=6, batch_size=2, learning_rate=1e-3)}, "loop.num_updates", "5", "6"),
    ],
)
def test_another_config_is_refused_by_field(asked, changes, name, found, wanted):
    (Run.open(asked.output_dir, asked).folder / "metrics.jsonl").touch()
    with pytest.raises(UserError) as refusal:
        Run.open(asked.output_dir, replace(asked, **changes))
    assert str(refusal.value) == (
        f"{asked.output_dir}: this folder holds a run with another config, differing in '{name}': "
        f"found {found}, wanted {wanted}. Choose another output_dir, or delete the folder to start again."
    )


def test_a_folder_in_which_nothing_was_made_is_left_to_another_config(asked):
    Run.open(asked.output_dir, asked)
    assert Run.open(asked.output_dir, replace(asked, width=4)).config["width"] == 4


def test_what_a_killed_process_left_half_written_is_removed_and_counts_for_nothing(asked):
    run = Run.open(asked.output_dir, asked)
    for name in ("config.yaml.partial-7", "00000.parquet.partial-7"):
        (run.folder / name).write_text("half")
    (run.folder / "export.partial-7").mkdir()
    assert Run.open(asked.output_dir, replace(asked, width=4)).config["width"] == 4, "nothing whole had been made"
    (run.export / "hf").mkdir(parents=True)
    for name in ("model.safetensors.partial-7", "model.safetensors"):
        (run.export / name).write_text("weights")
    Run.open(asked.output_dir, replace(asked, width=4))
    assert not list(run.folder.rglob("*.partial*"))
    assert (run.export / "model.safetensors").exists() and (run.export / "hf").is_dir()


def test_what_another_process_is_writing_is_left_alone(asked, monkeypatch):
    monkeypatch.setattr(patience, "PATIENCE_SECONDS", 0.2)
    run = Run.open(asked.output_dir, asked)
    being_written = run.folder / "metrics.jsonl.partial-7"
    being_written.write_text("half")
    assert "another process is writing" in opened_elsewhere(asked)
    assert being_written.exists()


def test_where_and_how_often_may_change(asked, tmp_path):
    first = Run.open(asked.output_dir, asked)
    loop = replace(asked.loop, device="auto", wandb="off", keep_last=3, checkpoint_every_updates=7)
    again = Run.open(asked.output_dir, replace(asked, loop=loop, output_dir=tmp_path / "other"))
    assert again.config_sha256 == first.config_sha256


def test_the_completion_mark_holds_facts_and_time_over_all_starts(asked):
    run = Run.open(asked.output_dir, asked)
    run.report_progress(update=3)
    path = run.folder / "progress.json"
    path.write_text(json.dumps({"wall_seconds": 100.0, "update": 3}))
    again = Run.open(asked.output_dir, asked)
    again.finish(loss=0.5)
    facts = Run.open(asked.output_dir, asked).facts()
    assert facts["loss"] == 0.5 and 100 <= facts["wall_seconds"] < 160
    assert facts["config_sha256"] == again.config_sha256
    assert Run.open(asked.output_dir, asked).finished()


def open_elsewhere(asked: Config, queue) -> None:
    try:
        Run.open(asked.output_dir, asked)
        queue.put("opened")
    except UserError as error:
        queue.put(str(error))


def opened_elsewhere(asked: Config) -> str:
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    process = context.Process(target=open_elsewhere, args=(asked, queue))
    process.start()
    answer = queue.get()
    process.join()
    return answer


def test_two_processes_cannot_write_one_run(asked, monkeypatch):
    monkeypatch.setattr(patience, "PATIENCE_SECONDS", 0.2)
    run = Run.open(asked.output_dir, asked)
    assert opened_elsewhere(asked) == f"{run.folder}: another process is writing to this run. Wait for it, or stop it."


def hold_for_a_while(asked: Config, queue) -> None:
    run = Run.open(asked.output_dir, asked)
    queue.put(run.config_sha256)
    time.sleep(0.5)


def test_a_run_of_a_process_that_is_still_dying_is_waited_for(asked):
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    process = context.Process(target=hold_for_a_while, args=(asked, queue))
    process.start()
    held = queue.get()
    assert Run.open(asked.output_dir, asked).config_sha256 == held
    process.join()


def test_ranks_other_than_the_first_write_nothing(asked, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    run = Run.open(asked.output_dir, asked)
    run.report_progress(update=1)
    run.finish()
    assert not asked.output_dir.exists()
