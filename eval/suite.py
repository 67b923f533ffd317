"""A suite's folder: outcomes and rows of one run, written once, skipped when done."""

import hashlib
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from eval.bootstrap import REPLICATES, item_interval
from eval.outcomes import Outcome, write_outcomes
from eval.rows import Manifest, Row, append_rows, write_rows
from runtime import atomic, provenance
from runtime.errors import UserError
from runtime.intervals import Interval
from runtime.json_files import read_object


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is measured: a run's weights, on a data set."""

    run: str
    seed: int | None
    checkpoint_sha256: str
    data_fingerprint: str


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One number on its way to a row, with its items where it has any."""

    metric: str
    protocol: str
    count: int
    interval: Interval
    outcome: Outcome | None = None
    manifest: Manifest = field(default_factory=dict)
    """Facts of the protocol beyond the data set's name and its items, which every row has."""


def measure(
    metric: str, outcome: Outcome, protocol: str, replicates: int = REPLICATES, manifest: Manifest | None = None
) -> Measurement:
    """Turn item outcomes into a measurement with its interval over items."""
    return Measurement(
        metric=metric,
        protocol=protocol,
        count=outcome.count,
        interval=item_interval(outcome, replicates=replicates),
        outcome=outcome,
        manifest=manifest or {},
    )


def run_suite(
    folder: Path,
    subject: Subject,
    settings: object,
    measure_all: Callable[[], Iterable[Measurement]],
    *,
    suite: str | None = None,
    ledger: Path | None = None,
) -> bool:
    """Measure into `folder` unless that is done; return whether anything was measured.

    `items.npz` and `rows.jsonl` are followed by `done.json`, which remembers what was measured and how. A folder whose
    mark differs (other weights, other data, other settings) is measured anew, and says so. Rows name their suite after
    the folder unless told otherwise; they are appended to the `ledger`, where there is one, before the mark is set.
    """
    identity = _identity(subject, settings)
    mark = folder / "done.json"
    if mark.exists():
        found = read_object(mark, "identity")["identity"]
        if found == identity:
            print(f"{folder}: done already")
            return False
        print(f"{folder}: measured again, since {', '.join(_differences(found, identity))} changed")
        shutil.rmtree(folder)
    atomic.make_folder(folder)
    start = time.monotonic()
    measurements = list(measure_all())
    rows = _rows(subject, suite or folder.name, measurements)
    _write(folder, measurements, rows)
    if ledger is not None:
        append_rows(ledger, rows)
    atomic.write_json(mark, {"identity": identity, "wall_seconds": round(time.monotonic() - start, 3)})
    print(f"{folder}: {len(measurements)} rows in {time.monotonic() - start:.1f} s")
    return True


def weights_sha256(folder: Path) -> str:
    """Hash all safetensors files below an exported model's folder, in the order of their paths."""
    files = sorted(folder.rglob("*.safetensors"))
    if not files:
        raise UserError("no exported weights", where=str(folder), found="no *.safetensors", wanted="a finished export")
    digest = hashlib.sha256()
    for file in files:
        digest.update(str(file.relative_to(folder)).encode())
        with file.open("rb") as stream:
            while chunk := stream.read(1 << 24):
                digest.update(chunk)
    return digest.hexdigest()


def data_fingerprint(data: Path) -> str:
    """Read the fingerprint of a built data set from its manifest."""
    manifest = data / "manifest.json"
    if not manifest.exists():
        raise UserError(
            "no manifest, so the data set is not complete", where=str(manifest), fix="Build it with python -m miniweb"
        )
    return str(read_object(manifest, "fingerprint")["fingerprint"])


def _identity(subject: Subject, settings: object) -> dict[str, str]:
    text = hashlib.sha256(repr(settings).encode()).hexdigest()
    return {**{key: str(value) for key, value in vars(subject).items()}, "settings_sha256": text}


def _differences(found: dict[str, str], wanted: dict[str, str]) -> list[str]:
    return [key for key in wanted if found.get(key) != wanted[key]]


def _rows(subject: Subject, suite: str, measurements: Sequence[Measurement]) -> list[Row]:
    commit = provenance.source_commit()
    return [
        Row(
            suite=suite,
            metric=item.metric,
            value=item.interval.value,
            count=item.count,
            low=item.interval.low,
            high=item.interval.high,
            protocol=item.protocol,
            manifest={**_facts(item), **item.manifest},
            commit=commit,
            **vars(subject),
        )
        for item in measurements
    ]


def _facts(measurement: Measurement) -> Manifest:
    """Return what every row's manifest says: which data set, and which of its items were tested."""
    facts: dict[str, str | int | float | None] = {"dataset": measurement.metric.split("/")[0]}
    if measurement.outcome is not None:
        names = "\n".join(measurement.outcome.ids.astype(str).tolist())
        facts["items_sha256"] = hashlib.sha256(names.encode()).hexdigest()[:16]
    return facts


def _write(folder: Path, measurements: Sequence[Measurement], rows: Sequence[Row]) -> None:
    outcomes = {item.metric: item.outcome for item in measurements if item.outcome is not None}
    write_outcomes(folder / "items.npz", outcomes)
    write_rows(folder / "rows.jsonl", rows)
