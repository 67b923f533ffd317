"""Completion marks of units: which are finished, told by names alone, and what became of their rows.

A mark is `NNNNN_stats.json`, written after `NNNNN.parquet`. Besides the sidecar's own counts and digest it holds what
the unit was made from (the fingerprint of its input, the digest of the job's manifest), why rows failed, and when and
how long the unit was worked on. Times stand here and never in the parquet, which is the same bytes for the same work.
"""

import os
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagetext.sidecars import read_mark, rewrite_sidecar, write_sidecar
from recaption.inputs.units import SUCCESS, Unit
from runtime.atomic import is_partial
from runtime.errors import UserError

if TYPE_CHECKING:
    import pyarrow

MARK_SUFFIX = "_stats.json"
_PARQUET_SUFFIX = ".parquet"
_NUM_READERS = 16
"""Marks read at a time: on a network file system each waits for its answer."""
_REASONED = ["status", "error_message"]
_REASONS_MAX = 20
"""Most reasons that one mark keeps."""
_REASON_LENGTH_MAX = 120


@dataclass(frozen=True, kw_only=True)
class UnitMark:
    """What a finished unit's mark says."""

    name: str
    num_rows: int
    statuses: Mapping[str, int]
    parquet_sha256: str
    input_fingerprint: str = ""
    """What identified the unit's input when it was captioned."""
    manifest_sha256: str = ""
    """Digest of the manifest that the unit's captioner agreed with."""
    reasons: Mapping[str, int] = field(default_factory=dict)
    """Rows without a caption by "status: reason"; numbers in reasons read N, but for those of three digits."""
    finished_at: float = 0.0
    """When the unit was finished, in seconds since 1970."""
    wall_seconds: float = 0.0
    """From the unit's first row to its last."""
    stage_seconds: Mapping[str, float] = field(default_factory=dict)
    """Seconds spent on the unit by stage (reading, decoding, ...); stages overlap."""
    rates: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `recaption.quality.rates.UnitRates`; empty in marks of other origin."""
    drift: Sequence[str] = ()
    """In what the unit departs from its run's calibration, and was accepted."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What one listing of a job's folder tells, without opening a file."""

    finished: set[str]
    """Names of finished units: those whose sidecar and mark are both there."""
    orphans: set[str]
    """Names of units with a mark and no sidecar: somebody took it away, and it is to be written again."""
    partials: list[str]
    """File names that processes, alive or killed, have not finished writing."""
    others: list[str]
    """All file names but the marks'."""


def list_folder(folder: Path) -> Listing:
    """List a job's folder once; one that is not there is empty."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries]
    except FileNotFoundError:
        names = []
    marked = {name.removesuffix(MARK_SUFFIX) for name in names if name.endswith(MARK_SUFFIX)}
    others = [name for name in names if not name.endswith(MARK_SUFFIX)]
    written = {name.removesuffix(_PARQUET_SUFFIX) for name in others if name.endswith(_PARQUET_SUFFIX)}
    # A path made of each of 130,000 names would take a second.
    partials = [name for name in others if not name.endswith(_PARQUET_SUFFIX) and is_partial(Path(name))]
    return Listing(finished=marked & written, orphans=marked - written, partials=partials, others=others)


def finished_names(folder: Path) -> set[str]:
    """Return the names of a job's finished units by one listing of its folder."""
    return list_folder(folder).finished


def remove_unfinished(folder: Path, listing: Listing, names: Set[str] | None = None) -> None:
    """Delete what is half written of some units that nobody writes now; None are all."""
    for partial in listing.partials:
        written = partial.partition(".partial")[0]
        if names is None or written.removesuffix(_PARQUET_SUFFIX).removesuffix(MARK_SUFFIX) in names:
            (folder / partial).unlink(missing_ok=True)


def finish_unit(
    folder: Path,
    unit: Unit,
    rows: Sequence[Mapping[str, object]],
    *,
    manifest_sha256: str,
    wall_seconds: float,
    stage_seconds: Mapping[str, float],
    more_facts: Mapping[str, object] | None = None,
) -> None:
    """Write a unit's sidecar, then its mark, which holds `more_facts` (plain JSON types) too.

    A unit that somebody else has finished stays as it is: that happens where locks do not reach, and when a captioner
    that was given up for lost was only slow.

    Raises:
        UserError: where there is not one row for each row of the input, or as `imagetext.sidecars.write_sidecar`.
    """
    if len(rows) != unit.count_rows():
        wanted = f"{unit.count_rows()}, as its input says"
        raise UserError("rows do not reconcile", where=unit.name, found=f"{len(rows)} rows", wanted=wanted)
    if (folder / f"{unit.name}{MARK_SUFFIX}").exists() and (folder / f"{unit.name}{_PARQUET_SUFFIX}").exists():
        return
    facts = {
        "input_fingerprint": unit.fingerprint(),
        "manifest_sha256": manifest_sha256,
        "reasons": _count_reasons(rows),
        "finished_at": round(time.time(), 3),
        "wall_seconds": round(wall_seconds, 3),
        "stage_seconds": {name: round(seconds, 3) for name, seconds in stage_seconds.items()},
        **(more_facts or {}),
    }
    write_sidecar(folder, unit.name, rows, own_types=unit.column_types(), facts=facts)


def rewrite_unit(folder: Path, name: str, table: "pyarrow.Table") -> None:
    """Write a finished unit's sidecar anew with other rows in the places of the old ones; its times and origin stay."""
    rewrite_sidecar(folder, name, table, {"reasons": _count_reasons(table.select(_REASONED).to_pylist())})


def read_unit_mark(folder: Path, name: str) -> UnitMark:
    """Return a finished unit's mark; raise UserError where it is missing, damaged or another program's."""
    mark = read_mark(folder, name)
    try:
        return UnitMark(
            name=name,
            num_rows=int(mark["count"]),
            statuses=dict(mark["status_dict"]),
            parquet_sha256=str(mark["parquet_sha256"]),
            input_fingerprint=str(mark.get("input_fingerprint", "")),
            manifest_sha256=str(mark.get("manifest_sha256", "")),
            reasons=dict(mark.get("reasons", {})),
            finished_at=float(mark.get("finished_at", 0.0)),
            wall_seconds=float(mark.get("wall_seconds", 0.0)),
            stage_seconds=dict(mark.get("stage_seconds", {})),
            rates=dict(mark.get("rates", {})),
            drift=tuple(mark.get("drift", ())),
        )
    except (KeyError, TypeError, ValueError) as error:
        where = folder / f"{name}{MARK_SUFFIX}"
        raise UserError("no mark of a captioned unit", where=where, found=repr(error), fix="Remove it") from None


def read_marks(folder: Path, names: Sequence[str]) -> Iterator[UnitMark]:
    """Yield the marks of finished units, in the order of the names, some read ahead side by side."""
    with ThreadPoolExecutor(_NUM_READERS) as pool:
        for start in range(0, len(names), 64 * _NUM_READERS):
            yield from pool.map(lambda name: read_unit_mark(folder, name), names[start : start + 64 * _NUM_READERS])


def _count_reasons(rows: Sequence[Mapping[str, object]]) -> dict[str, int]:
    failed = (row for row in rows if row.get("status", SUCCESS) != SUCCESS)
    counts = Counter(
        f"{row['status']}: {_general(str(row.get('error_message') or 'no reason given'))}" for row in failed
    )
    return dict(counts.most_common(_REASONS_MAX))


def _general(message: str) -> str:
    """Return a message without what differs from row to row, so that equal causes are counted together."""
    # Numbers of three digits stay: HTTP's.
    general = re.sub(r"\d+", lambda number: number[0] if len(number[0]) == 3 else "N", " ".join(message.split()))
    return general[:_REASON_LENGTH_MAX]
