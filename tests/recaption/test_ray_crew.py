"""What the crew of a Ray cluster does when those it relies on are gone; Ray itself is not started."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from recaption.engine_config import EngineConfig
from tests.recaption.job.made_jobs import config_of

ray = pytest.importorskip("ray")

from recaption.executors import ray_cluster  # noqa: E402 - it needs Ray


def test_a_feed_that_is_gone_with_its_node_ends_the_job_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise ray.exceptions.RayActorError(error_msg="The actor died\nand this is all that is known.")

    monkeypatch.setattr(ray, "get", fail)
    crew = object.__new__(ray_cluster._Crew)
    with pytest.raises(
        OSError, match=r"^Ray's head, or the node of this process, is gone \(The actor died\): run the same"
    ):
        crew._ask(None)


def test_a_node_on_which_captioners_only_die_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    node = {"Alive": True, "NodeID": "bad", "Resources": {"CPU": 2.0}}
    monkeypatch.setattr(ray, "nodes", lambda: [node])
    started: list[str] = []
    monkeypatch.setattr(ray_cluster._Crew, "_ask", lambda *_: 5)
    monkeypatch.setattr(ray_cluster._Crew, "_start", lambda _, node_id: started.append(node_id))
    crew: Any = object.__new__(ray_cluster._Crew)
    crew._config = config_of(tmp_path, engine=EngineConfig(deaths_max=3))
    crew._settings, crew._feed, crew._captioners, crew._refusals = crew._config.ray, _Anything(), [], {}
    crew._unfinished, crew._deaths = {"00000"}, Counter({"bad": 5})
    crew._fill_cluster()
    assert started == ["bad", "bad"]
    # Three deaths in turn for each of its two places.
    crew._deaths["bad"] += 1
    crew._fill_cluster()
    assert len(started) == 2
    assert (
        "no captioners on node bad: 6 captioners died there in turn, and none finished a unit"
        in capsys.readouterr().err
    )
    with pytest.raises(OSError, match="6 captioners died there in turn"):
        crew._raise_when_nobody_comes(0.0)


class _Anything:
    def __getattr__(self, _: str) -> Any:
        return self

    def __call__(self) -> Any:
        return self
