"""A Ray cluster that is not there is told in one line, at once."""

import socket
from pathlib import Path

import pytest

from recaption.config import RecaptionConfig
from recaption.executors.ray_connection import connected
from recaption.job_config import RayConfig
from runtime.errors import UserError
from tests.recaption.job.made_jobs import config_of

ray = pytest.importorskip("ray")


def config(root: Path, address: str | None) -> RecaptionConfig:
    return config_of(root, executor="ray", ray=RayConfig(address=address))


def test_a_head_that_is_dead_is_told_at_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    message = rf"^ray\.address: no Ray cluster answers: found {address} \(.*refused\)\. Start it by `ray start --head`"
    with pytest.raises(UserError, match=message), connected(config(tmp_path, address)):
        pass


def test_a_machine_without_a_cluster_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def find_none(**_: object) -> None:
        raise ConnectionError("Could not find any running Ray instance.")

    monkeypatch.setattr(ray, "init", find_none)
    with (
        pytest.raises(UserError, match=r"no Ray cluster answers: found auto \(Could not find any running Ray instance"),
        connected(config(tmp_path, "auto")),
    ):
        pass


@pytest.mark.parametrize("address", ["head", "ray://head:10001", "head:", "local", ""])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(
        UserError, match=r"ray\.address: no address of a Ray cluster: found .*wanted auto, or HOST:PORT"
    ):
        RayConfig(address=address)
