"""Look at every row of an input once: one file of signatures for each unit, which a stopped intake finds again."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pyarrow
import pyarrow.parquet

from imagetext.decode import DecodeError, decode
from recaption.inputs.shard_units import ShardUnit
from recaption.inputs.units import InputRow, Unit
from recaption.intake.config import IntakeConfig
from recaption.intake.hooks import Hook, find_hook, flags_by
from recaption.intake.signatures import Signature, signature
from runtime.atomic import atomic_path
from runtime.progress import Progress
from runtime.side_by_side import finish_side_by_side

LOOKS = "looks"
_SCHEMA = pyarrow.schema(
    [
        ("key", pyarrow.string()), ("status", pyarrow.string()), ("sha256", pyarrow.string()),
        ("url", pyarrow.string()), ("bits", pyarrow.binary()), ("colours", pyarrow.binary()),
        ("flags", pyarrow.list_(pyarrow.string())),
    ]
)  # fmt: skip
_FINGERPRINT = b"input_fingerprint"


def look_at_all(config: IntakeConfig, units: Sequence[Unit], folder: Path) -> None:
    """Write what each unit's rows look like, where it is not written yet."""
    missing = [unit for unit in units if not _is_of(unit, folder)]
    for name in config.hooks:
        find_hook(name)
    look = partial(_look_at, folder, config.perceptual, tuple(config.hooks))
    done = len(units) - len(missing)
    with Progress(total=len(units), initial=done, unit="units", label="intake") as progress:
        for unit in finish_side_by_side(missing, look, num_workers=config.workers):
            progress.advance(1)
            progress.show({"unit": unit.name})


def looks_of(unit: Unit, folder: Path) -> list[dict[str, object]]:
    """Return what a unit's rows look like."""
    return pyarrow.parquet.read_table(_place(unit, folder)).to_pylist()


def signature_of(image: bytes | None) -> Signature | None:
    """Return the signature of an encoded picture; None where it can't be decoded."""
    try:
        return None if image is None else signature(decode(image))
    except DecodeError:
        return None


def _look_at(folder: Path, perceptual: bool, hooks: tuple[str, ...], unit: Unit) -> None:
    found = [find_hook(name) for name in hooks]
    rows = [_record(row, perceptual, found) for row in _rows(unit, perceptual)]
    schema = _SCHEMA.with_metadata({_FINGERPRINT: unit.fingerprint().encode()})
    with atomic_path(_place(unit, folder)) as partial_place:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema=schema), partial_place)


def _rows(unit: Unit, perceptual: bool) -> Iterator[InputRow]:
    return unit.listed_rows() if isinstance(unit, ShardUnit) and not perceptual else unit.rows()


def _record(row: InputRow, perceptual: bool, hooks: Sequence[Hook]) -> dict[str, object]:
    seen = signature_of(row.image) if perceptual else None
    identity = {"key": row.key, "status": row.status, "sha256": row.sha256, "url": row.url}
    looks = {"bits": None if seen is None else seen.bits, "colours": None if seen is None else seen.colours}
    return {**identity, **looks, "flags": flags_by(hooks, row)}


def _is_of(unit: Unit, folder: Path) -> bool:
    place = _place(unit, folder)
    if not place.exists():
        return False
    metadata = pyarrow.parquet.read_schema(place).metadata or {}
    return bool(metadata.get(_FINGERPRINT) == unit.fingerprint().encode())


def _place(unit: Unit, folder: Path) -> Path:
    return folder / f"{unit.name}.parquet"
