"""Rows: one measured number each, with everything needed to judge it."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from runtime import atomic
from runtime.appending import append_lines, whole_lines
from runtime.errors import UserError

Manifest = Mapping[str, str | int | float | None]
"""Facts of a protocol, by name."""
FACTS_OF_THE_MODEL = ("context_length_tokens", "image_transform", "checkpoint", "model")
"""Facts that belong to what is measured: numbers that differ in these alone may stand in one column."""
_LATER_FIELDS = ("manifest", "commit")
"""Fields that rows written by older versions lack."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One number: what was measured, on how many items, how surely, by which protocol, of which weights and data."""

    suite: str
    """Suite that measured it."""
    metric: str
    """`<data set>/<quantity>`; a data set has one set of test items for all arms."""
    value: float
    """The estimate. Shares and accuracies are in [0, 1]."""
    count: int
    """Number of test items (images, captions or prompts) behind the value."""
    low: float
    """Lower end of the 95 % bootstrap interval over test items."""
    high: float
    """Upper end of it."""
    protocol: str
    """How it was measured; numbers with unlike protocols never share a column."""
    run: str
    """Run that was measured, `<stage>/<name>`."""
    seed: int | None
    """Training seed of the run; None where nobody knows it."""
    checkpoint_sha256: str
    """Hash over the weights that were measured; empty when the suite measures text alone."""
    data_fingerprint: str
    """Fingerprint of the data set the test items come from."""
    manifest: Manifest = field(default_factory=dict)
    """The protocol, fact by fact: split, counts, hash of the annotations, precision, tie policy and more."""
    commit: str | None = None
    """Commit of the code that measured it, with "+changes" where files differed; None where it is not known."""

    @property
    def measured_as(self) -> str:
        """Say by which protocol, in every fact that two numbers must share to stand in one column."""
        facts = {name: value for name, value in self.manifest.items() if name not in FACTS_OF_THE_MODEL}
        return f"{self.protocol} {json.dumps(facts, sort_keys=True)}"


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write one JSON line a row; the file is whole or absent."""
    atomic.write_text(path, "".join(f"{_line(row)}\n" for row in rows))


def append_rows(path: Path, rows: Iterable[Row]) -> None:
    """Add rows to a file that other processes may add to at the same time; of equal rows the last one counts."""
    append_lines(path, [_line(row) for row in rows])


def read_rows(path: Path) -> list[Row]:
    """Read rows written by `write_rows` or `append_rows`; a malformed line is a UserError naming it."""
    return [_row(line, f"{path}:{number}") for number, line in enumerate(whole_lines(path), start=1)]


def latest_rows(rows: Iterable[Row]) -> list[Row]:
    """Return the last row of each run, suite and metric, in the order in which they first came."""
    return list({(row.run, row.suite, row.metric): row for row in rows}.values())


def _row(line: str, where: str) -> Row:
    try:
        record = json.loads(line)
    except json.JSONDecodeError:
        raise UserError("not a JSON line", where=where, found=line[:60]) from None
    if not isinstance(record, dict):
        raise UserError("not a row", where=where, found=line[:60], wanted="a JSON object")
    wanted = {field.name for field in fields(Row)}
    odd = sorted(set(record) ^ wanted - (set(_LATER_FIELDS) - set(record)))
    if odd:
        raise UserError("a row's fields differ", where=where, found=odd, wanted="the fields of eval.rows.Row")
    if not isinstance(record.get("manifest", {}), dict):
        raise UserError("wrong manifest", where=where, found=record["manifest"], wanted="an object of named facts")
    decoded: dict[str, Any] = {key: _decode(key, value) for key, value in record.items()}
    return Row(**decoded)


def _line(row: Row) -> str:
    return json.dumps({key: _encode(value) for key, value in asdict(row).items()})


def _encode(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _decode(key: str, value: object) -> object:
    if key in ("value", "low", "high"):
        return math.nan if value is None else float(str(value))
    return value
