"""Rows: one measured number each, with everything needed to judge it."""

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from runtime import atomic
from runtime.errors import UserError


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
    seed: int
    """Training seed of the run."""
    checkpoint_sha256: str
    """Hash over the weights that were measured; empty when the suite measures text alone."""
    data_fingerprint: str
    """Fingerprint of the data set the test items come from."""


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write one JSON line a row; the file is whole or absent."""
    lines = [json.dumps({key: _encode(value) for key, value in asdict(row).items()}) for row in rows]
    atomic.write_text(path, "".join(f"{line}\n" for line in lines))


def read_rows(path: Path) -> list[Row]:
    """Read rows written by `write_rows`; a malformed line is a UserError naming it."""
    rows = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        where = f"{path}:{number}"
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            raise UserError("not a JSON line", where=where, found=line[:60]) from None
        wanted = {field.name for field in fields(Row)}
        if not isinstance(record, dict):
            raise UserError("not a row", where=where, found=line[:60], wanted="a JSON object")
        if set(record) != wanted:
            odd = sorted(set(record) ^ wanted)
            raise UserError("a row's fields differ", where=where, found=odd, wanted="the fields of eval.rows.Row")
        decoded: dict[str, Any] = {key: _decode(key, value) for key, value in record.items()}
        rows.append(Row(**decoded))
    return rows


def _encode(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _decode(key: str, value: object) -> object:
    if key in ("value", "low", "high"):
        return math.nan if value is None else float(str(value))
    return value
