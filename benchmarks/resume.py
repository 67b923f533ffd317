"""Starting a job again when nearly all of it is done: marks found by one listing, beside sets of finished ids.

Each way runs in a process of its own, so that its memory is its own: `python -m benchmarks.resume WAY FOLDER`.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from benchmarks.own_process import MIB, Clock, Took, run_way
from benchmarks.race import spread
from runtime.tables import markdown_table

if TYPE_CHECKING:
    from recaption.config import RecaptionConfig

ABOUT = """\
A job of 130,000 shards of 10,000 rows, 1.3 billion rows, of which all but ten shards are finished: files have the names
that shards and sidecars have, marks their content; tars and the finished parquet files are empty, since nothing opens
them. Time is from the process's first line to the moment at which the first unfinished shard is handed to a worker, the
imports, the input's listing and the manifest's comparison included; memory is the process's peak.

Beside it, two ways to know what is done by ids held in memory: in a Python set, as CaptionFlow keeps those of its jobs,
and in one sorted array, as Ray Data keeps those of finished rows. Both are our own stand-ins, not these tools' code:
ids of 12 digits come from parquet files of 10,000 rows, at a small share of the rows. Their time and memory, beyond
those of a process that only imports the libraries, are multiplied up to the whole: an extrapolation, and a kind one,
since looking up the rows still to do costs them nothing."""

_NUM_PENDING = 10
_LIMITS = """\
The bar: 5 s and 1 GB. Others who share the machine (Load, below) lengthen the seconds, not the CPU seconds."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """How large the job is."""

    num_shards: int = 130_000
    rows_per_shard: int = 10_000
    num_id_shards: int = 400
    """Shards whose rows' ids the other ways are given."""


SIZES = {"full": Size(), "tiny": Size(num_shards=40, rows_per_shard=10, num_id_shards=4)}


def measure(size: Size, repeats: int) -> str:
    """Return the table of seconds and memory of each way."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        make_job(folder, size)
        _write_ids(folder / "ids", size)
        results: dict[str, list[Took]] = {}
        for _ in range(repeats):
            for way, title in _NAMES.items():
                results.setdefault(title, []).append(run_way(__name__, way, folder))
    whole = size.num_shards * size.rows_per_shard
    rows = [_row(title, measured, results[_NAMES["bare"]], whole) for title, measured in results.items()]
    columns = ["way", "rows done", "seconds", "CPU seconds", "peak MiB", "seconds, extrapolated", "MiB, extrapolated"]
    return f"{markdown_table(columns, rows)}\n\n{_LIMITS}"


def make_job(folder: Path, size: Size) -> None:
    """Write the names of shards and sidecars, and the marks, of a job that was killed when ten shards were left."""
    from recaption.captioners.opening import identify_captioner
    from recaption.job.manifest import describe_job, write_manifest

    shards, model = folder / "shards", folder / "model"
    shards.mkdir()
    model.mkdir()
    (model / "config.json").write_text('{"model_type": "llava"}')
    (model / "rendering.json").write_text("{}")
    stats = {"count": size.rows_per_shard, "successes": size.rows_per_shard}
    for index in range(size.num_shards):
        (shards / f"{index:08d}.tar").touch()
        (shards / f"{index:08d}_stats.json").write_text(json.dumps({**stats, "tar_sha256": f"{index:064x}"}))
    config = _config(folder)
    manifest = describe_job(config, identify_captioner(config), size.num_shards)
    write_manifest(config.output_dir, manifest)
    mark = _mark(size, manifest.sha256)
    for index in range(size.num_shards - _NUM_PENDING):
        (folder / "side" / f"{index:08d}.parquet").touch()
        text = json.dumps({**mark, "input_fingerprint": f"{index:064x}", "finished_at": 1.7e9 + index})
        (folder / "side" / f"{index:08d}_stats.json").write_text(text)


def _mark(size: Size, manifest_sha256: str) -> dict[str, object]:
    num_failed = size.rows_per_shard // 10
    return {
        "manifest_sha256": manifest_sha256,
        "reasons": {"failed_to_download: HTTP Error 404: Not Found": num_failed},
        "wall_seconds": 100.0,
        "stage_seconds": {"reading": 3.2, "decoding": 41.0, "prefill": 81.5, "decode": 17.25, "writing": 0.31},
        "count": size.rows_per_shard,
        "status_dict": {"failed_to_download": num_failed, "success": size.rows_per_shard - num_failed},
        "parquet_sha256": "0" * 64,
    }


def _write_ids(folder: Path, size: Size) -> None:
    import pyarrow
    import pyarrow.parquet

    folder.mkdir()
    for shard in range(size.num_id_shards):
        ids = [f"{shard:06d}{row:06d}" for row in range(size.rows_per_shard)]
        pyarrow.parquet.write_table(pyarrow.table({"id": ids}), folder / f"{shard:05d}.parquet")


def _config(folder: Path) -> "RecaptionConfig":
    from recaption.config import RecaptionConfig

    shards, model = str(folder / "shards"), folder / "model"
    return RecaptionConfig(output_dir=folder / "side", model=model, shards=shards, device="cpu")


def _row(title: str, measured: list[Took], bare: list[Took], whole: int) -> list[str]:
    seconds, num_rows = [one.seconds for one in measured], measured[0].num_items
    middle, peak = statistics.median(seconds), _peak_mib(measured)
    cpu_seconds = statistics.median(one.cpu_seconds for one in measured)
    times = spread(seconds, "{:.2f}".format)
    cells = [title, f"{num_rows:,}" if num_rows else "", times, f"{cpu_seconds:.2f}", f"{peak:.0f}"]
    if not num_rows or title not in _EXTRAPOLATED:
        return [*cells, "", ""]
    scale = whole / num_rows
    bare_seconds, bare_peak = statistics.median(one.seconds for one in bare), _peak_mib(bare)
    scaled_seconds = bare_seconds + (middle - bare_seconds) * scale
    return [*cells, f"{scaled_seconds:,.0f}", f"{bare_peak + (peak - bare_peak) * scale:,.0f}"]


def _peak_mib(measured: list[Took]) -> float:
    return max(one.peak_bytes for one in measured) / MIB


def _import_libraries(folder: Path) -> int:
    import numpy  # noqa: F401
    import pyarrow.parquet  # noqa: F401

    return 0


def _start(folder: Path) -> int:
    from recaption.job.folder import open_job
    from recaption.job.marks import read_unit_mark

    job = open_job(_config(folder))
    assert len(job.pending) == _NUM_PENDING
    done = job.units[0].name
    return (len(job.units) - _NUM_PENDING) * read_unit_mark(folder / "side", done).num_rows


def _status(folder: Path) -> int:
    from recaption.job.marks import finished_names, read_marks
    from recaption.job.progress import summarise

    return summarise(read_marks(folder / "side", sorted(finished_names(folder / "side"))), now=time.time()).num_rows


def _set_of_ids(folder: Path) -> int:
    done: set[str] = set()
    for ids in _ids(folder):
        done.update(ids.to_pylist())
    return len(done)


def _sorted_array(folder: Path) -> int:
    import numpy as np
    import pyarrow

    column = pyarrow.chunked_array(list(_ids(folder)))
    return len(np.sort(column.to_numpy()))


def _ids(folder: Path) -> Iterator[Any]:
    import pyarrow.parquet

    for path in sorted((folder / "ids").iterdir()):
        yield pyarrow.parquet.read_table(path).column("id").combine_chunks()


_WAYS: dict[str, Callable[[Path], int]] = {
    "bare": _import_libraries, "start": _start, "status": _status, "set": _set_of_ids, "array": _sorted_array,
}  # fmt: skip
_NAMES = {
    "bare": "numpy and pyarrow imported, nothing read",
    "start": "recaption run: to the first shard",
    "status": "recaption status: every mark read",
    "set": "stand-in: ids in a set, as CaptionFlow's",
    "array": "stand-in: ids in a sorted array, as Ray Data's",
}
_EXTRAPOLATED = (_NAMES["set"], _NAMES["array"])


def main() -> None:
    """Go one way through the work and print what it took."""
    clock = Clock(wall=time.perf_counter(), cpu=0.0)
    way, folder = sys.argv[1:]
    clock.tell(_WAYS[way](Path(folder)))


if __name__ == "__main__":
    main()
