"""Recaptioning: what a worker's memory does over many rows, and how many rows a second it handles by itself."""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count, product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.recaption_shards import write_shards
from recaption.captioners.base import Answered, Caption, Item, Request, Result
from recaption.config import RecaptionConfig
from recaption.engine.report import UnitReport
from recaption.engine_config import EngineConfig
from recaption.executors.local import caption_units
from recaption.inputs.opening import open_units
from recaption.job.manifest import describe_job, write_manifest
from recaption.quality.config import CanaryConfig, DriftConfig
from runtime.tables import markdown_table

ABOUT = """\
One worker of `recaption run` over many rows, with a captioner that answers at once, in sentences that are all
different: everything but the model. It reads tars, decodes and prepares pictures in a thread, checks captions and
writes a sidecar and its mark for each shard, all in this process. One shard is drawn, and stands under as many names as
are captioned. Memory is the process's own, resident, as the kernel counts it, after each shard."""

_SIDE_PX = 32
_SHOWN = 10
"""Rows of the table, about."""
_KINDS = ("house", "tree", "boat", "bird", "car", "mill", "bridge", "tower", "kite", "lamp")
_COLOURS = ("red", "green", "blue", "white", "black", "yellow", "purple", "orange", "brown", "grey")
_PLACES = ("left of", "right of", "above", "below", "behind", "before", "near", "far from", "beside", "under")


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is captioned."""

    num_shards: int = 25
    rows_per_shard: int = 10_000
    """img2dataset's default."""


SIZES = {"full": Size(), "tiny": Size(num_shards=3, rows_per_shard=20)}


def measure(size: Size, repeats: int) -> str:
    """Return the table of memory by rows done, once: more repeats would tell nothing new of memory."""
    del repeats
    with TemporaryDirectory() as name:
        folder = Path(name)
        _write_shards(folder / "shards", size)
        seen = list(_seen(folder, size))
    rows = [one for place, one in enumerate(seen) if place in _shown(len(seen))]
    growth = seen[-1].memory_mib - seen[1].memory_mib
    per_row = 1024 * growth / (seen[-1].num_rows - seen[1].num_rows)
    cells = [[f"{one.num_rows:,}", f"{one.rate:,.0f}", f"{one.memory_mib:,.0f}"] for one in rows]
    return (
        f"{markdown_table(['rows done', 'rows / s, last shard', 'memory, MiB'], cells)}\n\n"
        f"From the second shard to the last, memory grew by {growth:.1f} MiB, {per_row:.3f} KiB a row; the largest "
        f"after any shard was {max(one.memory_mib for one in seen):,.0f} MiB."
    )


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """How a worker stood when a shard was done."""

    num_rows: int
    rate: float
    memory_mib: float


def _seen(folder: Path, size: Size) -> Iterator[_Seen]:
    config = RecaptionConfig(
        output_dir=folder / "side",
        model=folder / "no_model",
        shards=str(folder / "shards"),
        device="cpu",
        engine=EngineConfig(supervised=False),
        canary=CanaryConfig(pictures=0),
        drift=DriftConfig(stop=False),
    )
    units = open_units(config)
    write_manifest(config.output_dir, describe_job(config, Promptly.captioner_id, len(units)))
    began = time.monotonic()
    for place, report in enumerate(caption_units(config, units, open_captioner=lambda _: Promptly()), start=1):
        _require_all_captioned(report, size.rows_per_shard)
        now = time.monotonic()
        rate = size.rows_per_shard / (now - began)
        yield _Seen(num_rows=place * size.rows_per_shard, rate=rate, memory_mib=_memory_mib())
        began = now


class Promptly:
    """A captioner that answers promptly, and never the same."""

    captioner_id = "answers at once"

    def __init__(self) -> None:
        self._said = _sentences()

    @property
    def prepare(self) -> Callable[[Image.Image], Any]:
        """Return what makes pixels of a picture."""
        return np.asarray

    def answer(self, items: Iterator[Item]) -> Iterator[Result]:
        """Yield an answer for every request."""
        for item in items:
            if isinstance(item, Request):
                text = next(self._said)
                said = Caption(text=text, finish_reason="stop", num_tokens=len(text.split()), mean_logprob=-0.1)
                yield Answered(ticket=item.ticket, captions=(said,))


def _sentences() -> Iterator[str]:
    for num_windows in count(1):
        for colour, kind, where, other_colour, other in product(_COLOURS, _KINDS, _PLACES, _COLOURS, _KINDS):
            second = f"The {other} has {num_windows} windows, and the sky over both is clear."
            yield f"The picture shows a {colour} {kind} {where} a {other_colour} {other}. {second}"


def _write_shards(folder: Path, size: Size) -> None:
    """Write one shard, and give it the other names."""
    write_shards(folder, size.rows_per_shard, _SIDE_PX, rows_per_shard=size.rows_per_shard)
    first, *_ = [path.name.split(".")[0] for path in sorted(folder.glob("*.tar"))]
    for index in range(1, size.num_shards):
        for path in sorted(folder.glob(f"{first}*")):
            os.link(path, folder / path.name.replace(first, f"{index:05d}", 1))


def _shown(count: int) -> set[int]:
    """Return the places that the table shows: the first, the last and some between."""
    return {round(place * (count - 1) / (_SHOWN - 1)) for place in range(_SHOWN)}


def _memory_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _require_all_captioned(report: UnitReport, num_rows: int) -> None:
    assert report.statuses == {"success": num_rows}, f"not everything was captioned: {report.statuses}"
