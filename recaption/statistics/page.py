"""The statistics of a run as Markdown and as plain JSON types."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from imagetext.statistics import PAPER_STATISTICS
from recaption.statistics.config import StatisticsConfig
from recaption.statistics.counting import BIN_WORDS, DISTINCT_CAPTIONS, OPENING_WORDS, WordStatistics
from recaption.statistics.measuring import RunStatistics
from recaption.statistics.pair_scores import PairScores
from runtime.intervals import Interval, finite_or_null
from runtime.tables import markdown_table

_SHOWN = 10


def as_json(config: StatisticsConfig, found: RunStatistics) -> dict[str, Any]:
    """Return everything that was found, with its protocol."""
    record = {"recaptions": str(config.recaptions), "column": config.column, "seed": config.seed, **asdict(found)}
    return finite_or_null(record)


def as_markdown(config: StatisticsConfig, found: RunStatistics) -> str:
    """Return the page."""
    return "\n".join(
        [
            f"# Captions of {config.recaptions}\n",
            f"{found.num_pairs} rows with both captions among {found.num_rows} drawn, in {found.num_units_read} of "
            f"{found.num_units_finished} finished sidecars; old: `org_caption`, new: `{config.column}`. Brackets hold "
            "95 % intervals over rows.\n",
            "## Words\n",
            _words_table(found.old, found.new),
            "## Lengths\n",
            _length_table(found.old, found.new),
            "## Commonest words and openings\n",
            _commonest_table(found.old, found.new),
            *_score_sections(found.scores),
            "## The paper's own, of its own data\n",
            _paper_table(),
            "The paper does not define its two CLIP scores (each row adds up to 100); no column above holds the like.",
            "",
        ]
    )


def cell(interval: Interval, scale: int | float = 1, digits: int = 2) -> str:
    """Return an interval as `value [low, high]`; "none" where nothing was there to measure."""
    if math.isnan(interval.value):
        return "none"
    value, low, high = (f"{scale * each:.{digits}f}" for each in (interval.value, interval.low, interval.high))
    return f"{value} [{low}, {high}]"


def _words_table(old: WordStatistics, new: WordStatistics) -> str:
    rows: list[tuple[str, ...]] = [
        ("mean length (words)", *(cell(each.mean_words) for each in (old, new))),
        ("median, 95th percentile, longest", *(_spread(each) for each in (old, new))),
        ("share of the union vocabulary (%)", *(cell(each.vocabulary_share, 100) for each in (old, new))),
        ("distinct words", *(str(each.num_distinct_words) for each in (old, new))),
        ("words", *(str(each.num_words) for each in (old, new))),
    ]
    for n in old.distinct_ngram_shares:
        name = f"distinct {n}-grams of the first {DISTINCT_CAPTIONS} captions (%)"
        rows.append((name, *(f"{100 * each.distinct_ngram_shares[n]:.2f}" for each in (old, new))))
    return markdown_table(("", "old", "new"), rows)


def _spread(each: WordStatistics) -> str:
    return f"{each.lengths.median:.0f}, {each.lengths.percentile_95:.0f}, {each.lengths.maximum}"


def _length_table(old: WordStatistics, new: WordStatistics) -> str:
    num_bins = max(len(old.length_shares), len(new.length_shares))
    rows = [
        (f"{BIN_WORDS * i}-{BIN_WORDS * (i + 1) - 1}", *(_share_at(each, i) for each in (old, new)))
        for i in range(num_bins)
    ]
    shown = [row for row in rows if any(float(value) > 0 for value in row[1:])]
    return markdown_table(("words", "old (% of captions)", "new (% of captions)"), shown)


def _share_at(each: WordStatistics, place: int) -> str:
    return f"{100 * each.length_shares[place]:.2f}" if place < len(each.length_shares) else "0.00"


def _commonest_table(old: WordStatistics, new: WordStatistics) -> str:
    columns = [_ranked(each) for source in (old, new) for each in (source.commonest_words, source.commonest_openings)]
    headers = ("rank", "old: word (% of words)", "old: opening (% of captions)", "new: word", "new: opening")
    rows = [(str(rank + 1), *(column[rank] for column in columns)) for rank in range(_SHOWN)]
    return (
        markdown_table(headers, rows, ("right", "left", "left", "left", "left"))
        + f"\nAn opening is {OPENING_WORDS} words.\n"
    )


def _ranked(shares: Mapping[str, float]) -> list[str]:
    named = [f"{name} ({100 * share:.2f})" for name, share in shares.items()][:_SHOWN]
    return named + [""] * (_SHOWN - len(named))


def _score_sections(scores: Mapping[str, PairScores]) -> Iterator[str]:
    if not scores:
        return
    names = ("old cosine", "new cosine", "new wins (%)", "new softmax share (%)", "old / new cut off")
    rows = [
        (
            name,
            str(found.num_pairs),
            cell(found.old_cosine, digits=4),
            cell(found.new_cosine, digits=4),
            cell(found.new_win_share, 100),
            f"{cell(found.new_softmax_share, 100)} at scale {found.scale:.0f}",
            _cut(found),
        )
        for name, found in scores.items()
    ]
    yield "## How well captions fit their pictures\n"
    yield markdown_table(("scorer", "pairs", *names), rows)
    yield (
        "Cosine: mean of raw cosines. Wins: share of pairs in which the new caption's cosine is the larger, ties "
        "half. Softmax share: mean of exp(s new) / (exp(s old) + exp(s new)), s the model's own scale. Cut off: "
        "captions that lose words to the model's context.\n"
    )


def _cut(found: PairScores) -> str:
    if found.old_truncated_share is None or found.new_truncated_share is None:
        return "not known"
    return f"{100 * found.old_truncated_share:.1f} % / {100 * found.new_truncated_share:.1f} %"


def _paper_table() -> str:
    rows = [
        (name, *("not given" if value is None else f"{value:.2f}" for value in pair))
        for name, pair in PAPER_STATISTICS.items()
    ]
    return markdown_table(("arXiv 2406.08478, section 4", "original", "recaption"), rows)
