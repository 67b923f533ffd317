"""The runner: skipping, failing, running side by side, and leaving nothing alive behind."""

import subprocess
import sys
from pathlib import Path

import pytest

from openrecap import runner
from openrecap.console import Console
from openrecap.jobs import Job
from openrecap.lock import exclusive
from openrecap.machine import Machine
from openrecap.marks import Marks
from runtime import patience
from runtime.errors import UserError
from tests.processes import kill_and_see_its_children_end, wait_until

WRITE = "import sys, pathlib, time; time.sleep({pause}); pathlib.Path({path!r}).write_text({text!r})"


def job(tmp_path: Path, name: str, *needs: str, text: str = "x", pause: float = 0.0, threads: int = 1) -> Job:
    output = tmp_path / f"{name}.txt"
    program = WRITE.format(pause=pause, path=str(output), text=text)
    return Job(name=name, stage="data", arguments=("-c", program), output=output, needs=needs, threads=threads)


def run(tmp_path: Path, *jobs: Job, cores: int = 2, redo_stale: bool = False) -> tuple[bool, str]:
    said: list[str] = []
    marks = Marks(tmp_path / ".done")
    succeeded = runner.run(
        jobs,
        machine=Machine(cores=cores),
        marks=marks,
        logs=tmp_path / "logs",
        console=Console(said.append),
        redo_stale=redo_stale,
    )
    return succeeded, "\n".join(said)


def test_finished_jobs_are_skipped(tmp_path: Path) -> None:
    jobs = [job(tmp_path, "a"), job(tmp_path, "b", "a")]
    assert run(tmp_path, *jobs)[0]
    written = (tmp_path / "b.txt").stat().st_mtime_ns
    succeeded, said = run(tmp_path, *jobs)
    assert succeeded and said.count("done before") == 2
    assert (tmp_path / "b.txt").stat().st_mtime_ns == written


def test_another_result_upstream_makes_what_follows_run_again(tmp_path: Path) -> None:
    assert run(tmp_path, job(tmp_path, "a"), job(tmp_path, "b", "a"))[0]
    _, said = run(tmp_path, job(tmp_path, "a", text="y"), job(tmp_path, "b", "a"))
    assert "done before" not in said


def test_an_equal_result_upstream_leaves_what_follows_alone(tmp_path: Path) -> None:
    assert run(tmp_path, job(tmp_path, "a"), job(tmp_path, "b", "a"))[0]
    _, said = run(tmp_path, job(tmp_path, "a", pause=0.01), job(tmp_path, "b", "a"))
    assert "b: done before" in said and "a: started" in said


def folder_job(tmp_path: Path, name: str, *needs: str) -> Job:
    output = tmp_path / name
    program = (
        f"import pathlib; here = pathlib.Path({str(output)!r}); here.mkdir(exist_ok=True); (here / 'a.txt').touch()"
    )
    return Job(name=name, stage="data", arguments=("-c", program), output=output, needs=needs)


def test_a_folder_made_from_other_inputs_is_refused_and_kept(tmp_path: Path) -> None:
    assert run(tmp_path, job(tmp_path, "a"), folder_job(tmp_path, "b", "a"))[0]
    succeeded, said = run(tmp_path, job(tmp_path, "a", text="y"), folder_job(tmp_path, "b", "a"))
    assert not succeeded and "was made from other data or another config" in said
    assert (tmp_path / "b").is_dir()


def test_a_folder_made_from_other_inputs_is_made_again_on_request(tmp_path: Path) -> None:
    assert run(tmp_path, job(tmp_path, "a"), folder_job(tmp_path, "b", "a"))[0]
    (tmp_path / "b" / "stale.txt").touch()
    assert run(tmp_path, job(tmp_path, "a", text="y"), folder_job(tmp_path, "b", "a"), redo_stale=True)[0]
    assert not (tmp_path / "b" / "stale.txt").exists()


def configured_job(tmp_path: Path, program: str) -> Job:
    """Return a job that makes the folder `b`, runs `program` there and is decided by the file `b.yaml`."""
    output, config = tmp_path / "b", tmp_path / "b.yaml"
    opening = f"import pathlib; here = pathlib.Path({str(output)!r}); here.mkdir(exist_ok=True); "
    return Job(
        name="b", stage="data", arguments=("-c", opening + program), output=output, config_files=(config,), threads=1
    )


def test_a_config_edited_while_its_job_runs_leaves_the_job_stale(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text("steps: 1")
    edits_its_config = configured_job(tmp_path, "(here.parent / 'b.yaml').write_text('steps: 2')")
    assert run(tmp_path, edits_its_config)[0]
    succeeded, said = run(tmp_path, edits_its_config)
    assert not succeeded and "was made from other data or another config" in said
    assert "make reproduce ARGS=--redo_stale" in said


HALF = "(here / 'half.txt').touch(); raise SystemExit(len(list(here.iterdir())) == 1)"
"""Fails after its first file; goes on to the end where another file is there."""


def test_a_half_made_folder_goes_on_from_the_same_inputs(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text("steps: 1")
    halting = configured_job(tmp_path, HALF)
    assert not run(tmp_path, halting)[0]
    (tmp_path / "b" / "rest.txt").touch()
    assert run(tmp_path, halting)[0]
    assert "b: done before" in run(tmp_path, halting)[1]


def test_a_half_made_folder_is_stale_when_its_config_changed(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text("steps: 1")
    halting = configured_job(tmp_path, HALF)
    assert not run(tmp_path, halting)[0]
    (tmp_path / "b.yaml").write_text("steps: 2")
    assert "was made from other data or another config" in run(tmp_path, halting)[1]
    _, said = run(tmp_path, halting, redo_stale=True)
    assert "b: removed" in said and "b: started" in said


def test_a_half_redone_folder_is_not_done_when_its_old_config_returns(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text("steps: 1")
    halts_at_two = configured_job(tmp_path, "raise SystemExit((here.parent / 'b.yaml').read_text() == 'steps: 2')")
    assert run(tmp_path, halts_at_two)[0]
    (tmp_path / "b.yaml").write_text("steps: 2")
    assert not run(tmp_path, halts_at_two, redo_stale=True)[0]
    (tmp_path / "b.yaml").write_text("steps: 1")
    assert "done before" not in run(tmp_path, halts_at_two)[1]


def test_a_failure_stops_only_what_needs_it(tmp_path: Path) -> None:
    broken = Job(name="a", stage="data", arguments=("-c", "raise SystemExit('no disk')"), output=tmp_path / "a")
    succeeded, said = run(tmp_path, broken, job(tmp_path, "b", "a"), job(tmp_path, "c"))
    assert not succeeded
    assert "a: FAILED with exit code 1" in said and "no disk" in said
    assert "not started, for want of what failed: b" in said
    assert (tmp_path / "c.txt").exists() and not (tmp_path / "b.txt").exists()


def test_jobs_share_the_cores_by_their_threads(tmp_path: Path) -> None:
    _, side_by_side = run(tmp_path, job(tmp_path, "a", pause=0.5), job(tmp_path, "b", pause=0.5))
    assert side_by_side.index("b: started") < side_by_side.index("a: done")
    _, one_by_one = run(tmp_path, job(tmp_path, "c", pause=0.5, threads=2), job(tmp_path, "d", pause=0.5))
    assert one_by_one.index("d: started") > one_by_one.index("c: done")


def test_a_wide_job_is_not_overtaken_by_later_narrow_ones(tmp_path: Path) -> None:
    _, said = run(
        tmp_path,
        job(tmp_path, "first", pause=0.5),
        job(tmp_path, "wide", threads=2),
        job(tmp_path, "late"),
    )
    assert said.index("wide: started") < said.index("late: started")


def test_a_wide_job_runs_on_a_narrow_machine(tmp_path: Path) -> None:
    assert run(tmp_path, job(tmp_path, "a", threads=8), cores=1)[0]


def test_a_killed_runner_leaves_no_process_behind(tmp_path: Path) -> None:
    program = f"""
import sys
sys.path.insert(0, {str(Path.cwd())!r})
from pathlib import Path
from openrecap import runner
from openrecap.console import Console
from openrecap.jobs import Job
from openrecap.machine import Machine
from openrecap.marks import Marks
here = Path({str(tmp_path)!r})
code = "import time; open({str(tmp_path / "child")!r}, 'w'); time.sleep(60)"
job = Job(name="a", stage="data", arguments=("-c", code), output=here / "a")
runner.run([job], machine=Machine(cores=1), marks=Marks(here), logs=here, console=Console())
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.DEVNULL)
    wait_until((tmp_path / "child").exists, "the job")
    kill_and_see_its_children_end(process, num_children_min=1)


def test_two_runners_of_one_preset_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PATIENCE_SECONDS", 0.2)
    lock = tmp_path / ".lock"
    with (
        exclusive(lock),
        pytest.raises(UserError, match="another run of this preset is at work: found process"),
        exclusive(lock),
    ):
        pass
    with exclusive(lock):
        pass
