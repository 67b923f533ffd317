"""Captioners on a Ray cluster: as many as its nodes have room for, more when nodes join, fewer when they die.

A feed beside this process hands out units one by one. A unit is done when its mark is on disk, whoever says so: what a
lost captioner had in flight is handed out again unless its mark is there. Sidecars go straight from captioners to the
job's folder, which all nodes share; through Ray go names and counts.
"""

import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import (
    ActorUnschedulableError,
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayActorError,
    RayError,
    RayTaskError,
    WorkerCrashedError,
)
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from recaption.config import RecaptionConfig
from recaption.engine.report import UnitReport
from recaption.executors.ray_actors import Feed, RemoteCaptioner, config_of_a_captioner
from recaption.executors.ray_connection import connected
from recaption.inputs.units import Unit
from recaption.job.marks import list_folder, read_unit_mark, remove_unfinished
from runtime.errors import UserError

POLL_SECONDS = 1.0
LOST = (
    ActorUnschedulableError, NodeDiedError, ObjectLostError, OutOfMemoryError, RayActorError, WorkerCrashedError,
)  # fmt: skip
"""What Ray raises when an actor is gone, with its node or alone."""


def caption_units(config: RecaptionConfig, units: Sequence[Unit]) -> Iterator[UnitReport]:
    """Caption units on the cluster and yield the report of each as it is finished.

    Raises:
        UserError: what a captioner raised; where no node may or can caption; and at the end, naming units that were
            lost with their captioners too often.
        OSError: when the node of this process is gone, and where captioners die on all nodes.
    """
    if units:
        with connected(config):
            yield from _Crew(config, units).reports()


@dataclass(eq=False)
class _Captioner:
    """One actor, and what it is to tell next."""

    number: int
    node_id: str
    actor: Any
    awaited: Any
    """Whether it joins, then the stream of its reports."""
    joined: bool = False


class _Crew:
    """All captioners of a job, and what is left to do."""

    def __init__(self, config: RecaptionConfig, units: Sequence[Unit]):
        self._config, self._settings = config, config.ray
        self._unfinished = {unit.name for unit in units}
        self._losses: Counter[str] = Counter()
        self._deaths: Counter[str] = Counter()
        """Captioners lost on each node since one finished a unit there."""
        self._abandoned: list[str] = []
        self._refusals: dict[str, Exception] = {}
        """Why a node is of no use, by its id."""
        self._captioners: list[_Captioner] = []
        self._num_started = 0
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        feed: Any = ray.remote(Feed).options(num_cpus=0, scheduling_strategy=here)
        # Handles of actors are Any: Ray gives their methods `remote` only once the class is decorated.
        self._feed: Any = feed.remote(list(units))

    def reports(self) -> Iterator[UnitReport]:
        """Yield reports until every unit is finished or abandoned."""
        idle_since = time.monotonic()
        try:
            while self._unfinished:
                self._fill_cluster()
                if self._captioners:
                    idle_since = time.monotonic()
                self._raise_when_nobody_comes(time.monotonic() - idle_since)
                yield from self._hear_next()
        finally:
            for captioner in self._captioners:
                _end(captioner)
        if self._abandoned:
            raise UserError(
                "units were lost with their captioners too often",
                where="ray.losses_max",
                found=", ".join(self._abandoned),
                wanted=f"fewer than {self._settings.losses_max} losses each",
                fix="All others are done. Look for the cause in Ray's logs, then run the same command again.",
            )

    def _fill_cluster(self) -> None:
        """Start captioners where nodes have room, while units wait for them."""
        num_waiting: int = self._ask(self._feed.num_waiting.remote())
        limit = self._settings.captioners_max or sys.maxsize
        for node in ray.nodes():
            if not node["Alive"] or node["NodeID"] in self._refusals:
                continue
            node_id, places = node["NodeID"], _room(node["Resources"], *self._needs())
            if self._deaths[node_id] >= self._config.engine.deaths_max * max(1, places):
                died = f"{self._deaths[node_id]} captioners died there in turn, and none finished a unit"
                self._refuse(node_id, OSError(f"{died}: look for the cause above, or in Ray's logs"))
                continue
            num_here = sum(captioner.node_id == node_id for captioner in self._captioners)
            for _ in range(min(places - num_here, num_waiting, limit - len(self._captioners))):
                self._start(node_id)
                num_waiting -= 1

    def _needs(self) -> tuple[int, float]:
        cpus, gpus = self._settings.cpus_per_captioner, self._settings.gpus_per_captioner
        if gpus is None:
            has_gpus = any(node["Resources"].get("GPU") for node in ray.nodes() if node["Alive"])
            gpus = 1.0 if has_gpus and self._config.device != "cpu" else 0.0
        return cpus, gpus

    def _start(self, node_id: str) -> None:
        cpus, gpus = self._needs()
        there = NodeAffinitySchedulingStrategy(node_id, soft=False)
        options = {"num_cpus": cpus, "num_gpus": gpus, "scheduling_strategy": there}
        config = config_of_a_captioner(self._config)
        actor: Any = ray.remote(RemoteCaptioner).options(**options).remote(config, self._num_started, self._feed)
        self._captioners.append(_Captioner(self._num_started, node_id, actor, actor.join.remote()))
        self._num_started += 1

    def _raise_when_nobody_comes(self, seconds: float) -> None:
        if self._captioners or not self._unfinished:
            return
        nodes = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
        if self._refusals and nodes <= self._refusals.keys():
            raise next(iter(self._refusals.values()))
        if seconds > self._settings.patience_seconds:
            cpus, gpus = self._needs()
            raise UserError(
                "no node of the cluster has room for a captioner",
                where="ray",
                found=[node["Resources"] for node in ray.nodes() if node["Alive"]],
                wanted=f"{cpus} CPU and {gpus:g} GPU on one node",
                fix="Lower ray.cpus_per_captioner or ray.gpus_per_captioner, or add nodes.",
            )

    def _hear_next(self) -> Iterator[UnitReport]:
        if not self._captioners:
            time.sleep(POLL_SECONDS)
            return
        awaited = [captioner.awaited for captioner in self._captioners]
        ready, _ = ray.wait(awaited, timeout=POLL_SECONDS, fetch_local=False)
        for captioner in [one for one in self._captioners if one.awaited in ready]:
            try:
                yield from self._hear(captioner)
            except LOST as error:
                yield from self._lost(captioner, error)

    def _hear(self, captioner: _Captioner) -> Iterator[UnitReport]:
        if not captioner.joined:
            self._hear_whether_it_joins(captioner)
            return
        try:
            report = ray.get(next(captioner.awaited))
        except StopIteration:
            self._dismiss(captioner)
        except RayTaskError as error:
            if not isinstance(error.cause, OSError):
                raise _cause(error) from error
            self._refuse(captioner.node_id, error.cause)
            yield from self._lost(captioner, error.cause)
        else:
            self._deaths[captioner.node_id] = 0
            yield from self._finished(report)

    def _hear_whether_it_joins(self, captioner: _Captioner) -> None:
        try:
            ray.get(captioner.awaited)
        except RayTaskError as error:
            cause = _cause(error)
            if not isinstance(cause, UserError):
                raise cause from error
            self._refuse(captioner.node_id, cause)
            self._dismiss(captioner)
        else:
            captioner.joined = True
            print(f"captioner {captioner.number} joins from node {captioner.node_id}", file=sys.stderr, flush=True)
            captioner.awaited = captioner.actor.run.options(num_returns="streaming").remote()

    def _refuse(self, node_id: str, why: Exception) -> None:
        print(f"no captioners on node {node_id}: {why}", file=sys.stderr, flush=True)
        self._refusals[node_id] = why

    def _finished(self, report: UnitReport) -> Iterator[UnitReport]:
        """Yield a unit's report, the first time that it is heard."""
        if report.name in self._unfinished:
            self._unfinished.discard(report.name)
            yield report

    def _lost(self, captioner: _Captioner, error: Exception) -> Iterator[UnitReport]:
        """Report what a lost captioner had finished unheard, and hand out the rest of its units again."""
        self._dismiss(captioner)
        self._deaths[captioner.node_id] += 1
        given = [unit for unit in self._ask(self._feed.given.remote(captioner.number)) if unit.name in self._unfinished]
        listing = list_folder(self._config.output_dir)
        for unit in given:
            if unit.name in listing.finished:
                mark = read_unit_mark(self._config.output_dir, unit.name)
                yield from self._finished(
                    UnitReport(name=unit.name, num_rows=mark.num_rows, statuses=mark.statuses, seconds={})
                )
        unfinished = [unit for unit in given if unit.name not in listing.finished]
        # Before somebody else takes them: whatever is half written now was written by nobody else.
        remove_unfinished(self._config.output_dir, listing, {unit.name for unit in unfinished})
        self._put_back(unfinished)
        said = f"captioner {captioner.number} was lost with {len(unfinished)} units in flight: {_first_line(error)}"
        print(said, file=sys.stderr, flush=True)

    def _put_back(self, units: Sequence[Unit]) -> None:
        again = []
        for unit in units:
            self._losses[unit.name] += 1
            if self._losses[unit.name] < self._settings.losses_max:
                again.append(unit)
            else:
                self._abandoned.append(unit.name)
                self._unfinished.discard(unit.name)
        self._ask(self._feed.put_back.remote(again))

    def _ask(self, answer: Any) -> Any:
        """Return what the feed answers; raise OSError when it is gone, with the node that this process is on."""
        try:
            return ray.get(answer)
        except LOST as error:
            what = "Ray's head, or the node of this process, is gone"
            raise OSError(f"{what} ({_first_line(error)}): run the same command on a cluster that is up") from error

    def _dismiss(self, captioner: _Captioner) -> None:
        self._captioners.remove(captioner)
        _end(captioner)


def _room(resources: dict[str, float], cpus: int, gpus: float) -> int:
    """Return how many captioners a node has room for."""
    room = int(resources.get("CPU", 0.0) // cpus)
    return min(room, int(resources.get("GPU", 0.0) // gpus)) if gpus else room


def _end(captioner: _Captioner) -> None:
    with suppress(RayError):
        ray.kill(captioner.actor)


def _cause(error: RayTaskError) -> Exception:
    return error.cause if isinstance(error.cause, UserError) else error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
