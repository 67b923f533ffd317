"""Check finished sidecars against their input: no row lost, doubled, unexplained, of other pictures or captioners."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from imagetext.sidecars import is_complete, read_mark, read_sidecar_table
from recaption.inputs.units import SUCCESS, Unit
from recaption.job.folder import Manifest


def find_problems(folder: Path, unit: Unit, manifest: Manifest) -> Iterator[str]:
    """Yield one line per thing that is wrong with a unit's sidecar."""
    if not is_complete(folder, unit.name):
        yield f"{unit.name}: not finished; run the job again"
        return
    if manifest.units.get(unit.name) != unit.fingerprint:
        yield f"{unit.name}: the input is not the one that was captioned; captions may be of other pictures"
    mark = read_mark(folder, unit.name)
    path = folder / f"{unit.name}.parquet"
    if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != mark["parquet_sha256"]:
        yield f"{unit.name}: the parquet is not the one its mark was written for"
        return
    rows = read_sidecar_table(folder, unit.name).to_pylist()
    yield from (f"{unit.name}: {problem}" for problem in _row_problems(rows, unit, manifest))
    counted = dict(sorted(Counter(row["status"] for row in rows).items()))
    if counted != mark["status_dict"] or len(rows) != mark["count"]:
        yield f"{unit.name}: the mark counts {mark['status_dict']}, the rows are {counted}"


def _row_problems(rows: list[Mapping[str, object]], unit: Unit, manifest: Manifest) -> Iterator[str]:
    if sorted(str(row["key"]) for row in rows) != sorted(unit.keys()):
        yield f"{len(rows)} rows do not have the keys of the {unit.num_rows} rows of the input"
    for row in rows:
        if row["captioner_id"] != manifest.captioner_id or row["prompt_id"] != manifest.prompt_id:
            yield f"{row['key']}: written by captioner {row['captioner_id']} under prompt {row['prompt_id']}"
        if (row["status"] == SUCCESS) != (row["re_caption"] is not None):
            yield f"{row['key']}: status {row['status']} with caption {row['re_caption']!r}"
        if row["status"] != SUCCESS and not row["error_message"]:
            yield f"{row['key']}: status {row['status']} without a reason"
