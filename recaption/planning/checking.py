"""A finished job beside the plan that was made for it."""

from collections.abc import Iterator
from pathlib import Path

from recaption.job.progress import Totals
from runtime.errors import UserError
from runtime.json_files import read_object

PLAN = Path("job") / "plan" / "plan.json"


def check_lines(folder: Path, totals: Totals, workers: int | None) -> Iterator[str]:
    """Yield what was planned for the rows that are done and what they took; nothing where there is no plan.

    With another number of workers than the plan's the prediction is scaled by it. Raises UserError for a damaged plan.
    """
    path = folder / PLAN
    if not path.exists() or not totals.num_rows:
        return
    try:
        found = read_object(path)["calibration"]
        per_row, planned_workers = found["seconds_per_row"], int(found["workers"])
        reading = float(found["reading_seconds_per_row"]) / planned_workers
        factor = planned_workers / (workers or planned_workers)
        warming = float(found["warming_seconds"]) / totals.num_rows
        ends = (max(float(per_row[end]), reading) for end in ("value", "low", "high"))
        value, low, high = (end * factor + warming for end in ends)
        planned_bytes = float(found["sidecar_bytes_per_row"]["value"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError("no plan of ours", where=path, found=repr(error), fix="Remove it, or plan again") from None
    took = totals.active_seconds / totals.num_rows
    verdict = "within" if low <= took <= high else "outside"
    yield (
        f"  planned {_rate(value)} [{_rate(high)}, {_rate(low)}] rows/s, were {_rate(took)}: "
        f"{verdict} the plan's interval ({100 * (took / value - 1):+.0f} % time)"
    )
    yield f"  planned {value * totals.num_rows / 60:.1f} minutes for these rows, took {totals.active_seconds / 60:.1f}"
    sizes = sum(path.stat().st_size for path in folder.glob("*.parquet"))
    yield f"  planned {planned_bytes:.0f} bytes a row of sidecars, are {sizes / totals.num_rows:.0f}"


def _rate(seconds_per_row: float) -> str:
    return f"{1 / max(seconds_per_row, 1e-9):.2f}"
