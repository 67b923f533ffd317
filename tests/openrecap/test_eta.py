from pathlib import Path

import pytest

from openrecap.console import Console
from openrecap.eta import seconds_left
from openrecap.jobs import Job


def job(name: str, stage: str) -> Job:
    return Job(name=name, stage=stage, arguments=(), output=Path(name))


def test_each_job_counts_with_the_mean_of_its_stage() -> None:
    finished = {job("a", "clip"): 100.0, job("b", "clip"): 140.0, job("c", "dit"): 300.0}
    unfinished = [job("d", "clip"), job("e", "clip"), job("f", "dit"), job("g", "tables")]
    assert seconds_left(unfinished, finished, spent=40.0, side_by_side=2) == pytest.approx((120 + 120 + 300 - 40) / 2)


def test_an_unseen_stage_gives_no_estimate() -> None:
    assert seconds_left([job("a", "dit")], {job("b", "clip"): 10.0}, spent=0.0, side_by_side=1) is None


def test_a_job_that_takes_longer_than_its_kind_leaves_no_negative_time() -> None:
    assert seconds_left([job("a", "clip")], {job("b", "clip"): 10.0}, spent=50.0, side_by_side=1) == 0.0


@pytest.mark.parametrize(("left", "words"), [(1500.0, ", about 25 min left"), (45.0, ", about 45 s left"), (None, "")])
def test_the_console_says_it_where_it_is_known(left: float | None, words: str) -> None:
    said: list[str] = []
    console = Console(said.append)
    console.begin(3)
    console.finished(job("a", "clip"), 12.0, left=left)
    assert said[-1].endswith(f"[1/3] a: done in 12 s{words}")
