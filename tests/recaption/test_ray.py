"""A job on a Ray cluster of three nodes, of which one is killed and one added, equals the local executor's."""

import dataclasses
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from imagetext.shards import write_shard
from recaption import verbs
from recaption.config import RecaptionConfig, VerifyConfig
from recaption.job.marks import finished_names
from recaption.quality.config import CanaryConfig
from tests.processes import wait_until
from tests.recaption.conftest import jpeg, row
from tests.recaption.job.made_jobs import config_of, write_shards

pytest.importorskip("ray")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

NUM_SHARDS = 16
ROWS_PER_SHARD = 24
NODE = {"num_cpus": 1, "object_store_memory": 80 << 20, "include_dashboard": False}
WAIT_SECONDS = 600.0


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    for index in range(NUM_SHARDS):
        rows = [row(index, place, jpeg(100 * index + place)) for place in range(ROWS_PER_SHARD - 1)]
        write_shard(folder, index, [*rows, row(index, ROWS_PER_SHARD - 1, jpeg(7)[:150])])
    return folder


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    # Workers find this project and its tests as the nodes of a real cluster find what is installed there.
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))
    made = Cluster(initialize_head=True, head_node_args=NODE)
    try:
        yield made
    finally:
        made.shutdown()


class Driver:
    """A captioning command under way, and what it says."""

    def __init__(self, program: str, config: RecaptionConfig, address: str, log: Path):
        self.folder, self._log = config.output_dir, log
        places = {"shards": config.shards, "model": config.model, "output_dir": config.output_dir}
        numbers = {"max_new_tokens": config.max_new_tokens, "batch_size": config.batch_size}
        # A captioner of random weights does not tell pictures apart.
        numbers["canary.pictures"] = config.canary.pictures
        fields = {**places, **numbers, "device": "cpu", "executor": "ray", "ray.address": address}
        with log.open("w") as file:
            command = [sys.executable, "-m", program, "run", *(f"--{name}={value}" for name, value in fields.items())]
            self.process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)

    def said(self) -> str:
        return self._log.read_text()

    def wait_for(self, pattern: str) -> None:
        """Return when the command has said something; fail when it ends first."""
        wait_until(lambda: re.search(pattern, self.said()) or self.process.poll() is not None, pattern, WAIT_SECONDS)
        assert re.search(pattern, self.said()), self.said()[-3000:]

    def wait_for_units(self, count: int) -> None:
        """Return when some units are finished; fail when the command ends first."""
        wait_until(lambda: self.num_finished() >= count or self.process.poll() is not None, "units", WAIT_SECONDS)
        assert self.process.poll() is None, self.said()[-3000:]

    def num_finished(self) -> int:
        return len(finished_names(self.folder))


@contextmanager
def driving(program: str, config: RecaptionConfig, cluster: Any, log: Path) -> Iterator[Driver]:
    driver = Driver(program, config, cluster.address, log)
    try:
        yield driver
    finally:
        driver.process.kill()
        driver.process.wait()


def sidecars(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.parquet")}


def joins(node: Any) -> str:
    return rf"captioner \d+ joins from node {node.node_id}"


def test_units_of_a_killed_node_go_to_others(cluster: Any, tmp_path: Path) -> None:
    """The handing out of units alone, without a model: the killed node dies with a unit, the added one gets some."""
    write_shards(tmp_path / "shards", NUM_SHARDS)
    doomed, _ = cluster.add_node(**NODE), cluster.add_node(**NODE)
    config = config_of(tmp_path)
    with driving("tests.recaption.ray_stand_ins", config, cluster, tmp_path / "log.txt") as driver:
        driver.wait_for(joins(doomed))
        driver.wait_for_units(4)
        cluster.remove_node(doomed, allow_graceful=False)
        driver.wait_for(r"captioner \d+ was lost with 1 units in flight")
        added = cluster.add_node(**NODE)
        driver.wait_for(joins(added))
        assert driver.num_finished() == 4
        (config.output_dir / "job" / "go").touch()
        assert driver.process.wait(WAIT_SECONDS) == 0, driver.said()[-3000:]
    verbs.verify(VerifyConfig(output_dir=config.output_dir))
    assert driver.num_finished() == NUM_SHARDS


def test_nodes_come_and_go_and_the_result_is_the_local_one(
    model: Path, shards: Path, cluster: Any, tmp_path: Path
) -> None:
    doomed, _ = cluster.add_node(**NODE), cluster.add_node(**NODE)
    config = RecaptionConfig(
        model=model, output_dir=tmp_path / "ray", shards=str(shards), max_new_tokens=32, batch_size=4, device="cpu",
        canary=CanaryConfig(pictures=0),
    )  # fmt: skip
    with driving("recaption", config, cluster, tmp_path / "log.txt") as driver:
        driver.wait_for(joins(doomed))
        driver.wait_for_units(1)
        cluster.remove_node(doomed, allow_graceful=False)
        assert driver.num_finished() < NUM_SHARDS, "the node was killed when all was done"
        cluster.add_node(**NODE)
        assert driver.process.wait(WAIT_SECONDS) == 0, driver.said()[-3000:]
    assert re.search(r"captioner \d+ was lost with", driver.said())
    verbs.verify(VerifyConfig(output_dir=config.output_dir))
    local = dataclasses.replace(config, output_dir=tmp_path / "local")
    verbs.run(local)
    assert sidecars(config.output_dir) == sidecars(local.output_dir)
    assert len(sidecars(local.output_dir)) == NUM_SHARDS


def test_a_cluster_of_this_machine_starts_and_ends_with_the_job(
    model: Path, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    config = RecaptionConfig(
        model=model, output_dir=tmp_path / "side", shards=str(shards), max_new_tokens=12, batch_size=4, device="cpu",
        executor="ray", part="0/8", workers=2, canary=CanaryConfig(pictures=0),
    )  # fmt: skip
    verbs.run(config)
    assert finished_names(config.output_dir) == {"00000", "00008"}
    assert not ray.is_initialized()
