"""Worker processes of this machine, one per core or device, that caption pending units side by side."""

from collections.abc import Iterator, Sequence

from recaption.config import RecaptionConfig
from recaption.engine.answering import OpenCaptioner
from recaption.engine.report import UnitReport
from recaption.engine.supervision import supervised
from recaption.engine.worker import caption_stream
from recaption.inputs.units import Unit


def caption_units(
    config: RecaptionConfig, units: Sequence[Unit], *, open_captioner: OpenCaptioner | None = None
) -> Iterator[UnitReport]:
    """Caption units and write their sidecars; yield the report of each as it is finished.

    A free worker takes the next unit. Batches never reach over a unit's end where captions must not depend on who takes
    it. What stops the job is raised here; sidecars already written stay.
    """
    if not units:
        return
    if config.engine.supervised:
        num_workers = min(config.workers, len(units))
        yield from supervised(config, iter(units), num_workers=num_workers, open_captioner=open_captioner)
    else:
        yield from caption_stream(config, iter(units), open_captioner=open_captioner)
