"""The two kinds of actors of a job on Ray: one feed, which hands out units, and any number of captioners."""

import dataclasses
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from recaption.config import RecaptionConfig
from recaption.engine.report import UnitReport
from recaption.inputs.units import Unit


class Feed:
    """Hand out units in order, each to one captioner at a time; never waits, so that nobody waits for it."""

    def __init__(self, units: Sequence[Unit]):
        self._waiting: deque[Unit] = deque(units)
        self._given: dict[int, list[Unit]] = {}

    def take(self, captioner: int) -> Unit | None:
        """Return the next unit for a captioner, None when there is no more."""
        if not self._waiting:
            return None
        unit = self._waiting.popleft()
        self._given.setdefault(captioner, []).append(unit)
        return unit

    def given(self, captioner: int) -> list[Unit]:
        """Return all that a captioner was ever given."""
        return self._given.get(captioner, [])

    def put_back(self, units: Sequence[Unit]) -> None:
        """Hand units out again, before all others."""
        self._waiting.extendleft(reversed(units))

    def num_waiting(self) -> int:
        """Return how many units nobody has been given."""
        return len(self._waiting)


class RemoteCaptioner:
    """One captioner on some node, with the engine's own watching over its worker process."""

    def __init__(self, config: RecaptionConfig, number: int, feed: Any):
        self._config, self._number, self._feed = config, number, feed

    def join(self) -> None:
        """Raise UserError where captions of this node would not be the job's, or its folder is another."""
        from recaption.captioners.opening import identify_captioner
        from recaption.job.manifest import join_job

        join_job(self._config, identify_captioner(self._config))

    def run(self) -> Iterator[UnitReport]:
        """Yield a report of each unit once its mark is on disk, until the feed has no more."""
        if self._config.engine.supervised:
            from recaption.engine.supervision import supervised

            yield from supervised(self._config, self._units(), num_workers=1)
        else:
            from recaption.engine.worker import caption_stream

            yield from caption_stream(self._config, self._units())

    def _units(self) -> Iterator[Unit]:
        import ray

        while (unit := ray.get(self._feed.take.remote(self._number))) is not None:
            yield unit


def config_of_a_captioner(config: RecaptionConfig) -> RecaptionConfig:
    """Return the config under which one captioner runs on cores that it shares with others of its node."""
    processes = config.engine.decode_processes
    if processes is None and config.device != "cpu":
        processes = max(0, config.ray.cpus_per_captioner - 1)
    return dataclasses.replace(config, workers=1, engine=dataclasses.replace(config.engine, decode_processes=processes))
