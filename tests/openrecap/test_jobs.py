"""Choosing jobs and refusing designs that cannot run."""

from pathlib import Path

import pytest

from openrecap.jobs import Job, check, select
from runtime.errors import UserError


def job(name: str, stage: str, *needs: str) -> Job:
    return Job(name=name, stage=stage, arguments=(), output=Path(name), needs=needs)


JOBS = [
    job("data", "data"),
    job("foundation", "foundation", "data"),
    job("judges", "eval", "data"),
    job("x", "clip", "data"),
]


def test_until_takes_the_stage_and_what_it_needs() -> None:
    assert [found.name for found in select(JOBS, "foundation")] == ["data", "foundation"]
    assert select(JOBS, None) == JOBS


def test_unknown_stage_is_refused() -> None:
    with pytest.raises(UserError, match=r"--until: unknown stage: found clap, wanted one of data, foundation"):
        select(JOBS, "clap")


def test_a_job_declared_twice_is_refused() -> None:
    with pytest.raises(UserError, match="run declared twice: found data"):
        check([*JOBS, job("data", "data")])


def test_a_need_must_come_earlier() -> None:
    with pytest.raises(UserError, match="x: run needs one that is not declared before it: found y"):
        check([job("x", "clip", "y"), job("y", "clip")])
