"""The parts of a run's page as tables and facts, which HTML and Markdown share."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from imagetext.caption_flags.names import DEFECTS, FLAGS
from recaption.engine.report import STAGES
from recaption.inputs.units import SUCCESS
from recaption.job.marks import UnitMark
from recaption.report.facts import RunFacts, flag_counts
from recaption.statistics.counting import BIN_WORDS, DISTINCT_CAPTIONS, WordStatistics
from runtime.intervals import Interval

_UNITS_SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class Table:
    """One table of the page."""

    title: str
    headers: Sequence[str]
    rows: Sequence[Sequence[object]]
    note: str = ""
    text_columns: Sequence[int] = ()
    """Columns of text, beside the first."""


def headline(facts: RunFacts) -> dict[str, object]:
    """Return the numbers at the top of the page."""
    totals = facts.totals
    num_captioned = totals.statuses.get(SUCCESS, 0)
    told: dict[str, object] = {
        "units finished": _of(totals.num_units, facts.manifest.num_units if facts.manifest else totals.num_units),
        "rows": f"{totals.num_rows:,}",
        "captioned": f"{_percent(num_captioned, totals.num_rows)}",
        "without a defect": f"{100 * facts.rates.clean_share:.1f} %",
        "words a caption": f"{facts.rates.mean_words:.1f}",
    }
    if totals.rows_per_second:
        told["rows a second"] = f"{totals.rows_per_second:.1f}"
    return told


def tables(facts: RunFacts) -> Iterator[Table]:
    """Yield the tables of the page in order."""
    yield _counts(facts)
    if facts.totals.reasons:
        rows = [(count, reason) for reason, count in facts.totals.reasons.items()]
        yield Table(title="Why rows have no caption", headers=("rows", "status: reason"), rows=rows, text_columns=(1,))
    yield _flags(facts)
    if facts.words:
        yield _words(facts.words)
    worst = _unlike(facts.marks)
    if worst:
        headers = ("unit", "rows", "failed %", "clean %", "mean words", "repeated %", "drift")
        title = "Units with the fewest clean captions"
        yield Table(title=title, headers=headers, rows=worst, text_columns=(6,))
    yield from _throughput(facts)


def provenance(facts: RunFacts) -> Iterator[tuple[str, str]]:
    """Yield what shaped the captions, by name."""
    if facts.manifest is None:
        yield "origin", "no run of this project: an import"
        return
    yield "captioner_id", facts.manifest.captioner_id
    yield "prompt_id", facts.manifest.prompt_id
    for name, value in facts.manifest.shaped_by.items():
        if value is not None and name not in ("captioner_id", "image_policy"):
            yield name, str(value)


def length_curves(words: Mapping[str, WordStatistics]) -> dict[str, tuple[list[int], list[float]]]:
    """Return, by source, where bars of the distribution of lengths begin and the share of captions in each, in %."""
    return {
        name: ([BIN_WORDS * place for place in range(len(each.length_shares))], [100 * x for x in each.length_shares])
        for name, each in words.items()
    }


def flag_rows(facts: RunFacts) -> list[tuple[str, int, float]]:
    """Return each flag's rows and their share of the captioned ones in %, flags that nobody raises left out."""
    counts, captioned = flag_counts(facts.marks)
    if not captioned:
        counts.update(facts.rates.flags)
        captioned = facts.rates.num_captioned
    order = [*FLAGS, *(name for name in sorted(counts) if name not in FLAGS)]
    return [(name, counts[name], 100 * counts[name] / max(1, captioned)) for name in order if counts[name]]


def _counts(facts: RunFacts) -> Table:
    totals = facts.totals
    rows: list[tuple[object, ...]] = [
        (status, count, _percent(count, totals.num_rows)) for status, count in totals.statuses.items()
    ]
    rows.append(("all rows of finished units", totals.num_rows, ""))
    left = facts.num_unaccounted
    note = "Every row has a status: the counts reconcile." if not left else f"{left} rows have no status: run verify."
    return Table(title="Rows by status", headers=("status", "rows", "share"), rows=rows, note=note)


def _flags(facts: RunFacts) -> Table:
    rows = [
        (name, "defect" if name in DEFECTS else "note", count, f"{share:.2f} %", FLAGS.get(name, "known of the row"))
        for name, count, share in flag_rows(facts)
    ]
    rates = facts.rates
    again = f" Asked again: {rates.num_asked_again} of these rows, of which {rates.num_cured} are clean now."
    note = (
        f"{100 * rates.clean_share:.2f} % of {rates.num_captioned} captions read are without a defect, "
        f"{100 * rates.repeated_share:.2f} % repeat another's among them.{again}"
    )
    headers = ("flag", "kind", "rows", "share", "the caption")
    return Table(title="Flags", headers=headers, rows=rows, note=note, text_columns=(1, 4))


def _words(words: Mapping[str, WordStatistics]) -> Table:
    each = list(words.values())
    rows: list[tuple[object, ...]] = [
        ("mean length in words", *(_cell(one.mean_words) for one in each)),
        ("median, 95th percentile, longest", *(_spread(one) for one in each)),
        ("distinct words", *(one.num_distinct_words for one in each)),
    ]
    if len(each) > 1:
        rows.insert(2, ("share of the joint vocabulary, %", *(_cell(one.vocabulary_share, 100) for one in each)))
    for n in each[0].distinct_ngram_shares:
        rows.append((f"distinct-{n}, %", *(f"{100 * one.distinct_ngram_shares[n]:.2f}" for one in each)))
    which = "with both captions" if len(each) > 1 else "with a caption; none came with one"
    note = (
        f"{each[0].lengths.count} rows {which}; brackets hold 95 % intervals. Distinct-n: distinct runs of n words "
        f"over all, of the first {DISTINCT_CAPTIONS} captions."
    )
    return Table(title="Words", headers=("", *words), rows=rows, note=note)


def _unlike(marks: Sequence[UnitMark]) -> list[tuple[object, ...]]:
    told = sorted((mark for mark in marks if mark.rates), key=lambda mark: (mark.rates["clean_share"], mark.name))
    return [_unit_row(mark.name, mark.rates, mark.drift) for mark in told[:_UNITS_SHOWN]]


def _unit_row(name: str, rates: Mapping[str, Any], drift: Sequence[str]) -> tuple[object, ...]:
    shares = (f"{100 * rates[key]:.2f}" for key in ("failed_share", "clean_share"))
    rest = f"{rates['mean_words']:.1f}", f"{100 * rates['repeated_share']:.2f}", "; ".join(drift) or "none told"
    return name, rates["num_rows"], *shares, *rest


def _throughput(facts: RunFacts) -> Iterator[Table]:
    totals = facts.totals
    if not totals.active_seconds:
        return
    wall = sum(mark.wall_seconds for mark in facts.marks)
    rows = [
        (stage, f"{seconds:.1f}", f"{100 * seconds / max(wall, 1e-9):.0f}")
        for stage in STAGES
        if (seconds := sum(mark.stage_seconds.get(stage, 0.0) for mark in facts.marks)) > 0
    ]
    note = (
        f"{totals.rows_per_second:.1f} rows a second over {totals.active_seconds:.0f} s of work. Stages overlap; "
        "seconds are summed over workers and their processes, shares are of the units' own time."
    )
    yield Table(title="Throughput", headers=("stage", "seconds", "% of the units' time"), rows=rows, note=note)
    slow = [(mark.name, mark.num_rows, f"{mark.wall_seconds:.1f}") for mark in totals.slowest]
    yield Table(title="Slowest units", headers=("unit", "rows", "seconds"), rows=slow)


def _cell(interval: Interval, scale: int = 1) -> str:
    value, low, high = (f"{scale * each:.2f}" for each in (interval.value, interval.low, interval.high))
    return f"{value} [{low}, {high}]"


def _spread(each: WordStatistics) -> str:
    return f"{each.lengths.median:.0f}, {each.lengths.percentile_95:.0f}, {each.lengths.maximum}"


def _of(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,}"


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / max(1, whole):.2f} %"
