"""A job on a Ray cluster of three nodes, of which one is killed and one added, equals the local executor's."""

import dataclasses
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from imagetext.shards import write_shard
from recaption import verbs
from recaption.config import RecaptionConfig, VerifyConfig
from recaption.job.marks import finished_names
from recaption.job_config import RayConfig
from runtime.errors import UserError
from tests.processes import wait_until
from tests.recaption.conftest import jpeg, row
from tests.recaption.job.made_jobs import config_of, write_shards

pytest.importorskip("ray")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

NUM_SHARDS = 16
ROWS_PER_SHARD = 12
NODE = {"num_cpus": 1, "object_store_memory": 80 << 20}


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
    made = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    yield made
    made.shutdown()


def job(model: Path, output_dir: Path, shards: Path, **fields: object) -> RecaptionConfig:
    defaults = {"max_new_tokens": 12, "batch_size": 4, "device": "cpu"}
    return RecaptionConfig(model=model, output_dir=output_dir, shards=str(shards), **{**defaults, **fields})  # type: ignore[arg-type]


def sidecars(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.parquet")}


@contextmanager
def disturbed(cluster: Any, doomed: Any, folder: Path, num_finished: int) -> Iterator[None]:
    """Kill one node and add another once some units are finished, while the block runs; fail when that never came."""
    happened: list[int] = []

    def disturb() -> None:
        wait_until(lambda: len(finished_names(folder)) >= num_finished, "the first sidecars", seconds=900)
        cluster.remove_node(doomed, allow_graceful=False)
        happened.append(len(finished_names(folder)))
        cluster.add_node(**NODE)

    disturbing = threading.Thread(target=disturb)
    disturbing.start()
    yield
    disturbing.join()
    assert happened and happened[0] < NUM_SHARDS, "the node was killed when all was done"


def test_units_of_a_killed_node_go_to_others(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The handing out of units alone, without a model."""
    from recaption.executors import ray_cluster
    from tests.recaption.ray_stand_ins import StandIn

    monkeypatch.setattr(ray_cluster, "RemoteCaptioner", StandIn)
    write_shards(tmp_path / "shards", NUM_SHARDS)
    doomed, _ = cluster.add_node(**NODE), cluster.add_node(**NODE)
    config = config_of(tmp_path, executor="ray", ray=RayConfig(address=cluster.address))
    with disturbed(cluster, doomed, config.output_dir, num_finished=3):
        verbs.run(config)
    verbs.verify(VerifyConfig(output_dir=config.output_dir))
    assert len(finished_names(config.output_dir)) == NUM_SHARDS
    assert re.search(r"captioner \d+ was lost", capfd.readouterr().err)


def test_nodes_come_and_go_and_the_result_is_the_local_one(
    model: Path, shards: Path, cluster: Any, tmp_path: Path
) -> None:
    doomed, _ = cluster.add_node(**NODE), cluster.add_node(**NODE)
    config = job(
        model, tmp_path / "ray", shards, executor="ray", ray=RayConfig(address=cluster.address, patience_seconds=120.0)
    )

    with disturbed(cluster, doomed, config.output_dir, num_finished=2):
        verbs.run(config)
    verbs.verify(VerifyConfig(output_dir=config.output_dir))
    local = dataclasses.replace(config, output_dir=tmp_path / "local", executor="local")
    verbs.run(local)
    assert sidecars(config.output_dir) == sidecars(local.output_dir)
    assert len(sidecars(local.output_dir)) == NUM_SHARDS


def test_a_cluster_of_this_machine_starts_and_ends_with_the_job(model: Path, shards: Path, tmp_path: Path) -> None:
    import ray

    config = job(model, tmp_path / "side", shards, executor="ray", part="0/8", workers=2)
    verbs.run(config)
    assert finished_names(config.output_dir) == {"00000", "00008"}
    assert not ray.is_initialized()


def test_a_cluster_that_is_not_there_is_named(model: Path, shards: Path, tmp_path: Path) -> None:
    config = job(model, tmp_path / "side", shards, executor="ray", ray=RayConfig(address="127.0.0.1:1"))
    with pytest.raises(UserError, match=r"ray\.address: no Ray cluster: found 127\.0\.0\.1:1"):
        verbs.run(config)
