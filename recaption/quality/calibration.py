"""What a run's captions are like when all is well, as its first units say, and how far a unit may be from it."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from imagetext.caption_flags.names import FLAGS
from recaption.quality.config import DriftConfig
from recaption.quality.rates import UnitRates, count_words, measure_rows
from runtime.atomic import write_json
from runtime.errors import UserError
from runtime.json_files import read_object

CALIBRATION = Path("job") / "calibration.json"
WORDS_MAX = 20_000
"""Commonest words that a calibration keeps."""
UNKNOWN_SHARE_MARGIN = 0.25
"""Share of a unit's words, beyond that among the calibration's own halves, that the calibration may not have: names
come and go; another tokenizer or language knows none of them."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Rates of a run's first units, and their words."""

    units: tuple[str, ...]
    rates: UnitRates
    words: frozenset[str]
    unknown_share: float
    """Share of the words of the second half of its rows that the first half has not."""


def calibrate(units: Mapping[str, Sequence[Mapping[str, Any]]]) -> Calibration:
    """Return the calibration that units' rows give, by the units' names."""
    rows = [row for found in units.values() for row in found]
    rates = measure_rows(rows)
    # How many captions repeat others depends on how many there are: units are judged one by one.
    by_unit = [measure_rows(found) for found in units.values()]
    total = sum(one.num_captioned for one in by_unit)
    repeated = sum(one.repeated_share * one.num_captioned for one in by_unit) / max(1, total)
    middle = len(rows) // 2
    known, later = count_words(rows[:middle]), count_words(rows[middle:])
    return Calibration(
        units=tuple(units),
        rates=UnitRates(**{**asdict(rates), "repeated_share": repeated}),
        words=frozenset(word for word, _ in (known + later).most_common(WORDS_MAX)),
        unknown_share=_unknown_share(later, known),
    )


def departures(
    calibration: Calibration, rows: Sequence[Mapping[str, Any]], rates: UnitRates, drift: DriftConfig
) -> list[str]:
    """Return a line for each thing in which a unit leaves the calibration's band; none for a unit of too few rows."""
    if rates.num_captioned < drift.rows_min and rates.failed_share <= 1 - drift.rows_min / max(1, rates.num_rows):
        return []
    lines = list(_far_shares(calibration.rates, rates, drift))
    if rates.num_captioned >= drift.rows_min:
        lines += _far_lengths(calibration.rates, rates, drift)
        unknown, most = _unknown_share(count_words(rows), calibration.words), calibration.unknown_share
        if unknown > most + UNKNOWN_SHARE_MARGIN:
            lines.append(f"{unknown:.0%} of the words are new, in the calibration {most:.0%}")
    return lines


def write_calibration(folder: Path, calibration: Calibration) -> None:
    """Write a run's calibration."""
    said = {**asdict(calibration), "words": sorted(calibration.words)}
    write_json(folder / CALIBRATION, said)


def read_calibration(path: Path) -> Calibration:
    """Read a calibration: its file, or the folder of a run that has one; raise UserError where there is none."""
    path = path / CALIBRATION if path.is_dir() else path
    if not path.exists():
        raise UserError("no calibration", where=path, fix="Give a run's folder, or its job/calibration.json")
    said = read_object(path, "units", "rates", "words", "unknown_share")
    try:
        return Calibration(
            units=tuple(said["units"]),
            rates=UnitRates(**said["rates"]),
            words=frozenset(said["words"]),
            unknown_share=float(said["unknown_share"]),
        )
    except (TypeError, ValueError) as error:
        raise UserError("no calibration", where=path, found=str(error), fix="Remove it: it is made again") from None


def _far_shares(known: UnitRates, found: UnitRates, drift: DriftConfig) -> Iterator[str]:
    pairs = {"failed rows": (known.failed_share, found.failed_share)}
    if found.num_captioned >= drift.rows_min:
        pairs["captions that repeat another's"] = (known.repeated_share, found.repeated_share)
        pairs |= {f"flag {flag}": (known.flag_share(flag), found.flag_share(flag)) for flag in FLAGS}
    num_known, num_found = max(1, known.num_captioned), max(1, found.num_rows)
    for name, (wanted, share) in pairs.items():
        likely = min(max(wanted, 1 / num_known), 1 - 1 / num_known)
        error = math.sqrt(likely * (1 - likely) * (1 / num_known + 1 / num_found))
        margin = drift.deviations * error + drift.share_tolerance
        if abs(share - wanted) > margin:
            yield f"{name}: {share:.1%}, wanted {max(0.0, wanted - margin):.1%} to {min(1.0, wanted + margin):.1%}"


def _far_lengths(known: UnitRates, found: UnitRates, drift: DriftConfig) -> Iterator[str]:
    spread = math.sqrt(1 / max(1, known.num_captioned) + 1 / found.num_captioned)
    margin = drift.deviations * known.sd_words * spread + drift.length_tolerance * known.mean_words
    if abs(found.mean_words - known.mean_words) > margin:
        low, high = known.mean_words - margin, known.mean_words + margin
        yield f"mean length: {found.mean_words:.1f} words, wanted {low:.1f} to {high:.1f}"
    if known.mean_new_score is not None and found.mean_new_score is not None:
        lowest = known.mean_new_score - drift.score_tolerance
        if found.mean_new_score < lowest:
            yield f"mean CLIP score: {found.mean_new_score:.3f}, wanted {lowest:.3f} or more"


def _unknown_share(words: Counter[str], known: frozenset[str] | Counter[str]) -> float:
    total = sum(words.values())
    return sum(count for word, count in words.items() if word not in known) / total if total else 0.0
