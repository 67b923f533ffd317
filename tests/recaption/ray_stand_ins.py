"""`python -m recaption` with captioners for Ray that need no model: they name the keys, and wait to be let on."""

import time
from collections.abc import Iterator

from recaption.__main__ import main
from recaption.engine.report import UnitReport
from recaption.executors import ray_cluster
from recaption.executors.ray_actors import RemoteCaptioner
from runtime.entry import run_entry
from tests.recaption.job.made_jobs import caption

NUM_FREE = 4
"""Units that are captioned at once; the others once the file `job/go` is there."""


class StandIn(RemoteCaptioner):
    """Join as captioners do, take units from the feed, write their sidecars and marks."""

    def run(self) -> Iterator[UnitReport]:
        go = self._config.output_dir / "job" / "go"
        for unit in self._units():
            while int(unit.name) >= NUM_FREE and not go.exists():
                time.sleep(0.1)
            list(caption(self._config, [unit]))
            yield UnitReport(name=unit.name, num_rows=unit.count_rows(), statuses={}, seconds={})


if __name__ == "__main__":
    ray_cluster.RemoteCaptioner = StandIn  # type: ignore[misc]
    run_entry(main)
