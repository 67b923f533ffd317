"""A captioner for Ray that needs no model: it names the keys, and takes its time."""

import time
from collections.abc import Iterator

from recaption.engine.report import UnitReport
from recaption.executors.ray_actors import RemoteCaptioner
from tests.recaption.job.made_jobs import caption

SECONDS_A_UNIT = 0.5


class StandIn(RemoteCaptioner):
    """Join as captioners do, take units from the feed, write their sidecars and marks."""

    def run(self) -> Iterator[UnitReport]:
        for unit in self._units():
            time.sleep(SECONDS_A_UNIT)
            list(caption(self._config, [unit]))
            yield UnitReport(name=unit.name, num_rows=unit.num_rows, statuses={}, seconds={})
