"""What the machine offers, as a driver and the environment say it, without a GPU."""

import subprocess
from pathlib import Path

import pytest

from openrecap import machine, runner
from openrecap.console import Console
from openrecap.jobs import Job
from openrecap.machine import Machine
from openrecap.marks import Marks


def driver(monkeypatch: pytest.MonkeyPatch, answer: str | None) -> None:
    """Put a driver in place that names one GPU a line, or hangs where `answer` is None."""

    def run(query: list[str], *, timeout: float, **_: object) -> subprocess.CompletedProcess[str]:
        if answer is None:
            raise subprocess.TimeoutExpired(query, timeout)
        return subprocess.CompletedProcess(query, 0, stdout=answer)

    monkeypatch.setattr(machine.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(machine.subprocess, "run", run)


@pytest.mark.parametrize(
    ("visible", "gpus"),
    [
        (None, ("0", "1")),
        ("1", ("1",)),
        ("3, 2", ("3", "2")),
        ("GPU-8932f937", ("GPU-8932f937",)),
        ("0,-1,1", ("0",)),
        ("0,0", ("0",)),
        ("-1", ()),
        ("", ()),
    ],
)
def test_the_visible_gpus_are_the_slots(
    visible: str | None, gpus: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    driver(monkeypatch, "A100\nA100\n")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert machine.look().gpus == gpus


def test_a_hung_driver_means_no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    driver(monkeypatch, None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert machine.look().gpus == ()


def test_each_job_sees_a_gpu_of_its_own(tmp_path: Path) -> None:
    program = "import os, pathlib, sys, time; time.sleep(0.5); path = pathlib.Path(sys.argv[1]); "
    program += "path.write_text(os.environ['CUDA_VISIBLE_DEVICES'])"
    outputs = [tmp_path / name for name in ("a", "b")]
    jobs = [
        Job(name=output.name, stage="data", arguments=("-c", program, str(output)), output=output) for output in outputs
    ]
    runner.run(
        jobs,
        machine=Machine(cores=1, gpus=("5", "GPU-8932f937")),
        marks=Marks(tmp_path / ".done"),
        logs=tmp_path / "logs",
        console=Console(lambda line: None),
    )
    assert [output.read_text() for output in outputs] == ["5", "GPU-8932f937"]
