"""Caption a few rows of a job with its own captioner, workers and devices, and measure what that took."""

import io
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet

from imagetext.caption_flags.finding import defects_among
from imagetext.sidecars import RECAPTION_COLUMN, read_sidecar_table
from recaption.config import RecaptionConfig
from recaption.executors import local
from recaption.inputs.opening import open_units
from recaption.inputs.units import SUCCESS, Unit
from recaption.job.folder import open_job
from recaption.job.marks import UnitMark, read_marks
from recaption.planning.config import PlanConfig
from recaption.planning.pace import BLOCKS_MIN, refuse_too_few, steady_pace
from recaption.sample_table import on_table, write_sample
from recaption.sampling import SampledRow, sample_input
from runtime.atomic import make_folder
from runtime.errors import UserError
from runtime.intervals import Interval, mean_interval
from runtime.progress import Progress

ROWS_MIN = 512
ROUNDS = 8
"""Times over that a calibration fills what the captioner has under way at once."""
SERVED_UNIT_ROWS = 32
UNITS_COUNTED_MAX = 256
"""Units of an input whose rows are counted; of more, the counted ones stand for all."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What was measured on some rows of a job."""

    num_rows: int
    """Rows captioned."""
    num_input_rows: int
    """Rows of the job's input."""
    workers: int
    seconds_per_row: Interval
    """While all workers are at work, opening the captioner aside."""
    reading_seconds_per_row: float
    """Of one reader, from where the input lies."""
    opening_seconds: float
    """From the start of the workers to the first row."""
    warming_seconds: float
    """What the first rows took beyond the steady pace."""
    sidecar_bytes_per_row: Interval
    image_bytes_per_row: Interval
    statuses: dict[str, int]
    mean_words: float | None
    """Of the captions; None where there are none."""
    num_unfit: int
    """Rows whose caption has a defect by its flags."""

    @property
    def limit(self) -> str:
        """Return what a worker waits for: its captioner, or the reading of rows."""
        return "reading" if self.reading_seconds_per_row > self.seconds_per_row.value * self.workers else "captioning"


def calibrate(config: PlanConfig) -> Calibration:
    """Draw rows of the job's input, caption them beside its future sidecars, and remove these again.

    Raises UserError for an input of too few rows, and as the job itself would.
    """
    units = open_units(config.job)
    under_way, unit_rows = rows_under_way(config.job), _unit_rows(config.job)
    num_rows = config.calibration_rows or max(ROWS_MIN, ROUNDS * under_way)
    folder = config.job.output_dir / "job" / "plan" / "calibration"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        warming_rows = max(under_way, config.job.workers * unit_rows)
        served = config.job.captioner != "transformers"
        draining_rows = under_way if served else (config.job.workers - 1) * unit_rows
        reading = _draw(config.job, units, num_rows, unit_rows, make_folder(folder) / "sample.parquet")
        refuse_too_few(len(reading.image_bytes), warming_rows + BLOCKS_MIN * unit_rows + draining_rows)
        job = on_table(config.job, folder / "sample.parquet", folder / "sidecars", unit_rows)
        started, marks = time.time(), _caption(job)
        first = min(marks, key=lambda mark: mark.finished_at)
        pace = steady_pace(marks, warming_rows=warming_rows, draining_rows=draining_rows)
        table = pyarrow.concat_tables([read_sidecar_table(job.output_dir, mark.name) for mark in marks])
        return Calibration(
            num_rows=len(table),
            num_input_rows=count_rows(units),
            workers=config.job.workers,
            seconds_per_row=pace.seconds_per_row,
            warming_seconds=pace.warming_seconds,
            reading_seconds_per_row=reading.seconds_per_row,
            opening_seconds=max(0.0, first.finished_at - first.wall_seconds - started),
            sidecar_bytes_per_row=_sidecar_bytes(table),
            image_bytes_per_row=mean_interval(np.array(reading.image_bytes)),
            statuses=dict(Counter(table.column("status").to_pylist())),
            mean_words=_mean_words(table),
            num_unfit=sum(bool(defects_among(flags or ())) for flags in table.column("flags").to_pylist()),
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def rows_under_way(job: RecaptionConfig) -> int:
    """Return how many rows a job's captioners have under way at once."""
    each = {"transformers": job.batch_size, "vllm": job.vllm.max_sequences, "openai": job.openai.concurrency}
    return each[job.captioner] * job.workers


def count_rows(units: Sequence[Unit]) -> int:
    """Return the rows of an input: counted, or of very many units estimated from some."""
    step = max(1, len(units) // UNITS_COUNTED_MAX)
    counted = units[::step]
    return round(sum(unit.count_rows() for unit in counted) * len(units) / len(counted))


@dataclass(frozen=True, kw_only=True)
class _Reading:
    seconds_per_row: float
    image_bytes: list[float]


def _unit_rows(job: RecaptionConfig) -> int:
    """Return the rows of a calibration's units: whole batches, or for captioners without batches a few rows."""
    return job.batch_size if job.captioner == "transformers" else SERVED_UNIT_ROWS


def _draw(job: RecaptionConfig, units: Sequence[Unit], num_rows: int, unit_rows: int, place: Path) -> _Reading:
    """Write drawn rows as a table whose row groups are a unit each, and tell how long they took to read."""
    passed, sizes = dict[str, int](), list[float]()

    def noted() -> Iterator[SampledRow]:
        for each in sample_input(units, num_rows, job.seed):
            passed[each.unit] = each.num_passed
            sizes.append(float(len(each.row.image or b"")))
            yield each

    began = time.monotonic()
    write_sample(place, noted(), units, unit_rows)
    if not sizes:
        raise UserError("the input holds no rows", where="job")
    return _Reading(seconds_per_row=(time.monotonic() - began) / sum(passed.values()), image_bytes=sizes)


def _caption(config: RecaptionConfig) -> list[UnitMark]:
    job = open_job(config)
    try:
        with Progress(total=len(job.pending), unit="units", label="calibration") as progress:
            for report in local.caption_units(config, job.pending):
                progress.advance()
                progress.show({"unit": report.name, "bottleneck": report.bottleneck or "none"})
        return list(read_marks(config.output_dir, [unit.name for unit in job.units]))
    finally:
        job.lock.close()


def _sidecar_bytes(table: pyarrow.Table) -> Interval:
    """Return a sidecar's bytes a row: of all rows in one file, as uncertain as the length of their texts."""
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(table, buffer)
    each = len(buffer.getvalue()) / len(table)
    texts = [len((row[RECAPTION_COLUMN] or "").encode()) for row in table.select([RECAPTION_COLUMN]).to_pylist()]
    spread = mean_interval(np.array(texts, dtype=np.float64))
    share = 0.0 if spread.value == 0 else (spread.high - spread.value) / spread.value
    return Interval(each, each * (1 - share), each * (1 + share))


def _mean_words(table: pyarrow.Table) -> float | None:
    rows = zip(table.column("status").to_pylist(), table.column("re_length").to_pylist(), strict=True)
    lengths = [length for status, length in rows if status == SUCCESS and length is not None]
    return sum(lengths) / len(lengths) if lengths else None
