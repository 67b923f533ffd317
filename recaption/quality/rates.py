"""What a unit's rows come to: failures, lengths, repeats, flags, repairs, scores; and its words, for comparison."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from imagetext.caption_flags.finding import defects_among
from imagetext.sidecars import RECAPTION_COLUMN
from imagetext.statistics import num_words
from imagetext.words import words_of
from recaption.inputs.units import SUCCESS

FAILED_HERE = ("failed_to_caption", "gave_up")
"""Statuses of rows that had a picture and got no caption; others had none to begin with."""


@dataclass(frozen=True, kw_only=True)
class UnitRates:
    """Rates of one unit, or of several together; shares are of rows with a caption unless they say otherwise."""

    num_rows: int
    num_captioned: int
    failed_share: float
    """Rows whose picture was there and which got no caption, of all whose picture was there."""
    mean_words: float
    sd_words: float
    """Standard deviation of the captions' lengths in words."""
    repeated_share: float
    """Captions that another row of the unit has, word for word, for another picture."""
    clean_share: float
    """Captions without a defect."""
    flags: Mapping[str, int] = field(default_factory=dict)
    """Rows by flag."""
    num_asked_again: int = 0
    num_cured: int = 0
    """Rows asked again that have no defect now."""
    mean_new_score: float | None = None
    """Mean CLIP score of the new captions; None where none was computed."""
    mean_old_score: float | None = None

    def flag_share(self, flag: str) -> float:
        """Return the share of captioned rows that raise a flag."""
        return self.flags.get(flag, 0) / max(1, self.num_captioned)


def measure_rows(rows: Sequence[Mapping[str, Any]]) -> UnitRates:
    """Return the rates of a sidecar's rows."""
    captioned = [row for row in rows if row["status"] == SUCCESS]
    failed = sum(row["status"] in FAILED_HERE for row in rows)
    lengths = np.array([num_words(row[RECAPTION_COLUMN] or "") for row in captioned], dtype=np.float64)
    clean = [not defects_among(row["flags"] or ()) for row in captioned]
    again = [bool(row.get("repairs")) for row in captioned]
    return UnitRates(
        num_rows=len(rows),
        num_captioned=len(captioned),
        failed_share=failed / max(1, failed + len(captioned)),
        mean_words=float(lengths.mean()) if captioned else 0.0,
        sd_words=float(lengths.std()) if captioned else 0.0,
        repeated_share=_repeated_share(captioned),
        clean_share=sum(clean) / max(1, len(captioned)),
        flags=dict(sorted(Counter(flag for row in captioned for flag in row["flags"] or ()).items())),
        num_asked_again=sum(again),
        num_cured=sum(one and sound for one, sound in zip(again, clean, strict=True)),
        mean_new_score=_mean(captioned, "re_clip_score"),
        mean_old_score=_mean(captioned, "org_clip_score"),
    )


def count_words(rows: Sequence[Mapping[str, Any]]) -> Counter[str]:
    """Return how often each word stands in the rows' captions."""
    return Counter(word for row in rows for word in words_of(row[RECAPTION_COLUMN] or ""))


def _repeated_share(captioned: Sequence[Mapping[str, Any]]) -> float:
    pictures: dict[str, set[str]] = {}
    for row in captioned:
        pictures.setdefault(row[RECAPTION_COLUMN] or "", set()).add(row.get("sha256") or row["key"])
    repeated = sum(len(pictures[row[RECAPTION_COLUMN] or ""]) > 1 for row in captioned)
    return repeated / max(1, len(captioned))


def _mean(rows: Sequence[Mapping[str, Any]], column: str) -> float | None:
    values = [row[column] for row in rows if row.get(column) is not None]
    return round(float(np.mean(values)), 6) if values else None
