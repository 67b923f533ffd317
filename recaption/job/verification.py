"""Check finished sidecars against their input: no row lost, doubled, unexplained, of other pictures or captioners."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow
import pyarrow.compute
import pyarrow.parquet

from imagetext.sidecars import RECAPTION_COLUMN, SIDECAR_SCHEMA
from recaption.captioners.identity import ID_LENGTH
from recaption.inputs.units import SUCCESS, Unit
from recaption.job.folder import CONFIG, DONE, PROVENANCE
from recaption.job.manifest import MANIFEST, Manifest
from recaption.job.marks import MARK_SUFFIX, UnitMark, list_folder, read_unit_mark
from runtime.errors import UserError
from runtime.json_files import read_object
from runtime.run import CACHE

OWN_FILES = frozenset({CONFIG, DONE, PROVENANCE, MANIFEST.parts[0], CACHE, ".lock"})
"""What a job's folder holds besides sidecars."""
_NAMED_AT_MOST = 3
"""Rows that are named when many have the same thing wrong."""


def find_problems(folder: Path, units: Sequence[Unit], manifest: Manifest, threads: int) -> Iterator[str]:
    """Yield one line for each thing that is wrong with a job, unit by unit and then with the folder as a whole."""
    with ThreadPoolExecutor(threads) as pool:
        for problems in pool.map(lambda unit: _unit_problems(folder, unit, manifest), units):
            yield from problems
    yield from _folder_problems(folder, {unit.name for unit in units})


def _folder_problems(folder: Path, names: set[str]) -> Iterator[str]:
    listing = list_folder(folder)
    marked = listing.finished | listing.orphans
    for name in sorted(marked - names):
        yield f"{name}{MARK_SUFFIX}: the input has no unit {name}"
    parquets = {f"{name}.parquet" for name in names | marked}
    for name in sorted(set(listing.others) - parquets - set(listing.partials) - OWN_FILES):
        yield f"{name}: no file of this job"
    if (folder / DONE).exists():
        for name in sorted(listing.partials):
            yield f"{name}: half written, in a job that is done; start it again to remove it"
        said = read_object(folder / DONE, "num_units")["num_units"]
        if said != len(names):
            yield f"{DONE}: says {said} units, the input has {len(names)}"


def _unit_problems(folder: Path, unit: Unit, manifest: Manifest) -> list[str]:
    problems: list[str] = []
    try:
        # One by one: what was found before the check can't go on is told as well.
        for problem in _problems(folder, unit, manifest):
            problems.append(problem)
    except (UserError, OSError, pyarrow.ArrowException) as error:
        problems.append(f"{unit.name}: {' '.join(str(error).split())}")
    return problems


def _problems(folder: Path, unit: Unit, manifest: Manifest) -> Iterator[str]:
    """Yield a unit's problems, each after the name of the file that has it."""
    mark_name, parquet_name = f"{unit.name}{MARK_SUFFIX}", f"{unit.name}.parquet"
    if not (folder / mark_name).exists():
        yield f"{mark_name}: missing, the unit is not finished; run the job again"
        return
    mark = read_unit_mark(folder, unit.name)
    yield from (f"{mark_name}: {problem}" for problem in _mark_problems(mark, unit, manifest))
    path = folder / parquet_name
    if not path.exists():
        yield f"{parquet_name}: missing; run the job again"
        return
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != mark.parquet_sha256:
            yield f"{parquet_name}: not the file that its mark was written for; remove the mark and run the job again"
            return
    table = pyarrow.parquet.read_table(path)
    problems = [*_column_problems(table.schema)] or [*_key_problems(table, unit), *_row_problems(table, manifest)]
    yield from (f"{parquet_name}: {problem}" for problem in problems)
    if "status" in table.schema.names:
        yield from (f"{mark_name}: {problem}" for problem in _count_problems(table, mark))


def _mark_problems(mark: UnitMark, unit: Unit, manifest: Manifest) -> Iterator[str]:
    if mark.input_fingerprint != unit.fingerprint():
        yield "the input is not the one that was captioned; captions may be of other pictures"
    if mark.manifest_sha256 != manifest.sha256:
        yield f"captioned under manifest {mark.manifest_sha256[:ID_LENGTH]}, the job's is {manifest.sha256[:ID_LENGTH]}"


def _column_problems(schema: pyarrow.Schema) -> Iterator[str]:
    for wanted in SIDECAR_SCHEMA:
        if wanted.name not in schema.names:
            yield f"no column {wanted.name}"
        elif schema.field(wanted.name).type != wanted.type:
            yield f"column {wanted.name} is {schema.field(wanted.name).type}, wanted {wanted.type}"


def _key_problems(table: pyarrow.Table, unit: Unit) -> Iterator[str]:
    keys, wanted = table.column("key").to_pylist(), unit.keys()
    if keys == wanted:
        return
    missing, extra = Counter(wanted) - Counter(keys), Counter(keys) - Counter(wanted)
    yield f"{len(keys)} rows do not have the keys of the {len(wanted)} rows of the input"
    if missing:
        yield f"no row for {_some(missing)}"
    if extra:
        yield f"rows too many for {_some(extra)}"
    if not missing and not extra:
        yield "the rows are not in the input's order"


def _row_problems(table: pyarrow.Table, manifest: Manifest) -> Iterator[str]:
    success = pyarrow.compute.equal(table.column("status"), SUCCESS)
    captioned = pyarrow.compute.is_valid(table.column(RECAPTION_COLUMN))
    said = pyarrow.compute.greater(pyarrow.compute.utf8_length(table.column("error_message")), 0)
    tests = {
        "written by another captioner": pyarrow.compute.not_equal(table.column("captioner_id"), manifest.captioner_id),
        "written under another prompt": pyarrow.compute.not_equal(table.column("prompt_id"), manifest.prompt_id),
        "a success without a caption": _and(success, pyarrow.compute.invert(captioned)),
        "a caption on a failed row": _and(pyarrow.compute.invert(success), captioned),
        "failed without a reason": _and(
            pyarrow.compute.invert(success), pyarrow.compute.invert(pyarrow.compute.fill_null(said, False))
        ),
    }
    for what, mask in tests.items():
        rows = table.filter(pyarrow.compute.fill_null(mask, True)).column("key").to_pylist()
        if rows:
            yield f"{what}: {_some(rows)}"


def _count_problems(table: pyarrow.Table, mark: UnitMark) -> Iterator[str]:
    counted = dict(sorted(Counter(table.column("status").to_pylist()).items()))
    if counted != dict(mark.statuses) or table.num_rows != mark.num_rows:
        yield f"counts {mark.num_rows} rows, {dict(mark.statuses)}; the rows are {table.num_rows}, {counted}"


def _and(left: pyarrow.ChunkedArray, right: pyarrow.ChunkedArray) -> pyarrow.ChunkedArray:
    return pyarrow.compute.and_kleene(left, right)


def _some(names: Sequence[str] | Counter[str]) -> str:
    listed = list(names)
    more = len(listed) - _NAMED_AT_MOST
    return ", ".join(map(str, listed[:_NAMED_AT_MOST])) + (f" and {more} more" if more > 0 else "")
