"""The whole house from the README's command: bare to report, and the same results after five kills."""

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

KILL_SEEDS = (1, 2, 3, 4, 5)


def start_quick(runs: Path) -> subprocess.Popen[bytes]:
    """Start the README's command with another folder for runs, in a process group of its own."""
    log = runs.parent / f"{runs.name}.log"
    with log.open("ab") as stream:
        return subprocess.Popen(
            ["make", "quick", f"RUNS={runs}"], stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
        )


def finish_quick(runs: Path) -> None:
    code = start_quick(runs).wait()
    assert code == 0, (runs.parent / f"{runs.name}.log").read_text()[-4000:]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("undisturbed") / "runs"
    finish_quick(runs)
    return runs / "quick"


def rows_of(preset: Path) -> list[str]:
    return (preset / "results.jsonl").read_text().splitlines()


def test_quick_gives_every_table_finding_and_page(undisturbed: Path) -> None:
    tables = (undisturbed / "tables.md").read_text()
    for number in range(1, 8):
        assert f"Table {number}" in tables
    assert "Findings" in tables and "underpowered" in tables
    page = (undisturbed / "report" / "index.html").read_text()
    assert page.count("data:image/") >= 12 and 'src="http' not in page
    suites = {json.loads(row)["suite"] for row in rows_of(undisturbed)}
    assert len(suites) >= 4


def test_a_second_run_repeats_nothing(undisturbed: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*.safetensors")}
    assert before
    finish_quick(undisturbed.parent)
    assert {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*.safetensors")} == before


def test_five_kills_change_no_result(undisturbed: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    for seed in KILL_SEEDS:
        process = start_quick(runs)
        time.sleep(random.Random(seed).uniform(20, 120))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    finish_quick(runs)
    assert rows_of(runs / "quick") == rows_of(undisturbed)
    assert (runs / "quick" / "tables.md").read_text() == (undisturbed / "tables.md").read_text()
    weights = Path("captioner/main/export/model.safetensors")
    assert (runs / "quick" / weights).read_bytes() == (undisturbed / weights).read_bytes()
