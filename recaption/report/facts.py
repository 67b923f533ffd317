"""What the page of a run tells: counts of all its rows from the marks, captions from some of its sidecars."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from imagetext.caption_flags.finding import defects_among, find_flags, find_shared, in_order
from imagetext.caption_flags.names import SAME_AS_MANY
from imagetext.parquet import rows_of
from imagetext.sidecars import RECAPTION_COLUMN, read_sidecar_table
from recaption.inputs.units import SUCCESS
from recaption.job.folder import DONE
from recaption.job.manifest import MANIFEST, Manifest, read_manifest
from recaption.job.marks import UnitMark, read_marks
from recaption.job.progress import Totals, summarise
from recaption.job.reopening import finished_of
from recaption.quality.rates import UnitRates, measure_rows
from recaption.report.config import ReportConfig
from recaption.statistics.counting import CaptionCounter, WordStatistics, group_of
from recaption.statistics.counting import summarise as summarise_words
from runtime import seeds
from runtime.progress import Progress

OLD_COLUMN = "org_caption"


@dataclass(frozen=True, kw_only=True)
class ToldRow:
    """One row of a sidecar, for showing."""

    unit: str
    columns: Mapping[str, Any]
    flags: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """Everything that the page is made of, but for pictures."""

    totals: Totals
    marks: Sequence[UnitMark]
    """Marks of all finished units, by name."""
    manifest: Manifest | None
    """None for captions that were imported."""
    done: bool
    rates: UnitRates
    """Of the rows that were read."""
    num_units_read: int
    words: Mapping[str, WordStatistics]
    """Of the captions `before` and `after` of the rows read that have both; of `after` alone where none has both."""
    worst: Sequence[ToldRow]
    """Rows with the most defects, then with the least likely captions."""

    @property
    def num_unaccounted(self) -> int:
        """Return how many rows of finished units have no status: none, or the counts do not reconcile."""
        return self.totals.num_rows - sum(self.totals.statuses.values())


def gather(config: ReportConfig) -> RunFacts:
    """Read a run; raises UserError for a folder without finished captions."""
    names = finished_of(config.recaptions)
    marks = list(read_marks(config.recaptions, names))
    rows, num_units_read = _read_rows(config, names)
    has_manifest = (config.recaptions / MANIFEST).exists()
    return RunFacts(
        totals=summarise(marks, now=time.time()),
        marks=marks,
        manifest=read_manifest(config.recaptions) if has_manifest else None,
        done=(config.recaptions / DONE).exists(),
        rates=measure_rows([{**row.columns, "flags": row.flags} for row in rows]),
        num_units_read=num_units_read,
        words=_count_words(rows),
        worst=sorted((row for row in rows if row.columns["status"] == SUCCESS), key=_soundness)[: config.worst],
    )


def flag_counts(marks: Sequence[UnitMark]) -> tuple[Counter[str], int]:
    """Return how many rows raise each flag, of how many captioned ones, by the marks that tell."""
    told = [mark.rates for mark in marks if mark.rates]
    counts: Counter[str] = Counter()
    for rates in told:
        counts.update(rates["flags"])
    return counts, sum(int(rates["num_captioned"]) for rates in told)


def _read_rows(config: ReportConfig, names: Sequence[str]) -> tuple[list[ToldRow], int]:
    """Return the rows of sidecars in an order of draws, so that any number of them is spread over the run."""
    rows: list[ToldRow] = []
    num_units = 0
    order = sorted(names, key=lambda name: seeds.derive(config.seed, "sidecars", name))
    with Progress(total=config.rows_max, unit="rows", label="report") as progress:
        for name in order:
            found = list(_told(name, rows_of(read_sidecar_table(config.recaptions, name))))
            rows += found[: config.rows_max - len(rows)]
            num_units += 1
            progress.advance(len(found))
            if len(rows) >= config.rows_max:
                break
    return rows, num_units


def _told(unit: str, rows: Sequence[Mapping[str, Any]]) -> Iterator[ToldRow]:
    """Yield a sidecar's rows; flags that it does not record are found anew."""
    pictures = [str(row.get("sha256") or row["key"]) for row in rows]
    shared = find_shared([row.get(RECAPTION_COLUMN) for row in rows], pictures)
    for row, is_shared in zip(rows, shared, strict=True):
        flags = list(row.get("flags") or ())
        if row.get("repairs") is None and row["status"] == SUCCESS:
            flags += find_flags(row[RECAPTION_COLUMN] or "", finish_reason=row.get("finish_reason"))
            flags += [SAME_AS_MANY] if is_shared else []
        yield ToldRow(unit=unit, columns=row, flags=tuple(in_order(flags)))


def _count_words(rows: Sequence[ToldRow]) -> dict[str, WordStatistics]:
    old, new, alone = CaptionCounter(), CaptionCounter(), CaptionCounter()
    for row in rows:
        before, after = (str(row.columns.get(name) or "") for name in (OLD_COLUMN, RECAPTION_COLUMN))
        if row.columns["status"] != SUCCESS or not after.strip():
            continue
        group = group_of(str(row.columns["key"]))
        alone.add(after, group)
        if before.strip():
            old.add(before, group)
            new.add(after, group)
    if new.lengths:
        return dict(zip(("before", "after"), summarise_words(old, new), strict=True))
    return {"after": summarise_words(alone, alone)[1]} if alone.lengths else {}


def _soundness(row: ToldRow) -> tuple[int, int, float, str]:
    logprob = row.columns.get("mean_logprob")
    likely = 0.0 if logprob is None else float(logprob)
    return -len(defects_among(row.flags)), -len(row.flags), likely, f"{row.unit}/{row.columns['key']}"
