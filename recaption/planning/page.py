"""A plan in words, and a plan beside what became of it."""

from collections.abc import Iterator

from recaption.inputs.units import SUCCESS
from recaption.planning.calibration import Calibration
from recaption.planning.estimate import Estimate
from runtime.intervals import Interval, share_interval

_BYTE_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def calibration_lines(found: Calibration) -> Iterator[str]:
    """Yield what was measured."""
    failed = found.num_rows - found.statuses.get(SUCCESS, 0)
    rate = Interval(*(1 / end for end in (found.seconds_per_row.value, found.seconds_per_row.high, _low(found))))
    yield f"measured on {found.num_rows} rows of {found.num_input_rows}, {found.workers} workers:"
    yield f"  {in_brackets(rate, '.2f')} images/s"
    yield f"  opening took {found.opening_seconds:.0f} s, warming up {found.warming_seconds:.0f} s more than the pace"
    yield f"  one reader: {1 / found.reading_seconds_per_row:.0f} rows/s; the limit is {found.limit}"
    words = "no caption" if found.mean_words is None else f"{found.mean_words:.1f} words a caption"
    shares = zip(("failed", "unfit by their flags"), (failed, found.num_unfit), strict=True)
    told = ", ".join(f"{name} {_percent(share_interval(count, found.num_rows))}" for name, count in shares)
    yield f"  {words}; of the rows {told}"


def _percent(share: Interval) -> str:
    return f"{100 * share.value:.1f} % [{100 * share.low:.1f}, {100 * share.high:.1f}]"


def _low(found: Calibration) -> float:
    return max(found.seconds_per_row.low, 1e-9)


def estimate_lines(title: str, found: Estimate) -> Iterator[str]:
    """Yield what a number of images takes."""
    yield f"{title}: {found.num_images:,} images on {found.devices} devices"
    yield f"  {in_brackets(found.images_per_second, ',.1f')} images/s"
    yield f"  {_duration(found.hours)}; {in_brackets(found.device_hours, ',.2f')} device-hours"
    if found.dollars is not None:
        yield f"  {in_brackets(found.dollars, ',.2f')} dollars"
    yield f"  {_bytes(found.sidecar_bytes)} of sidecars; {_bytes(found.image_bytes)} of pictures read"


def in_brackets(interval: Interval, form: str) -> str:
    """Return an interval as `value [low, high]`, each in a number format."""
    return f"{interval.value:{form}} [{interval.low:{form}}, {interval.high:{form}}]"


def _duration(hours: Interval) -> str:
    if hours.value >= 1:
        return f"{in_brackets(hours, ',.1f')} hours"
    return f"{in_brackets(Interval(*(60 * each for each in (hours.value, hours.low, hours.high))), '.1f')} minutes"


def _bytes(interval: Interval) -> str:
    place, value = 0, interval.value
    while value >= 1000 and place < len(_BYTE_UNITS) - 1:
        place, value = place + 1, value / 1000
    scaled = Interval(*(each / 1000**place for each in (interval.value, interval.low, interval.high)))
    return f"{in_brackets(scaled, '.1f')} {_BYTE_UNITS[place]}"
