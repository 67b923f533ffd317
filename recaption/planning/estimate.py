"""What any number of images takes on any number of devices, from what a few rows took here."""

from dataclasses import asdict, dataclass
from typing import Any

from recaption.planning.calibration import Calibration
from runtime.intervals import Interval, finite_or_null

SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a job takes; devices are taken to work side by side without holding each other up."""

    num_images: int
    devices: int
    images_per_second: Interval
    """All devices together."""
    device_hours: Interval
    hours: Interval
    """With the time to open the captioner and to warm up once."""
    sidecar_bytes: Interval
    image_bytes: Interval
    """To be read."""
    dollars: Interval | None


def estimate(found: Calibration, num_images: int, devices: int, dollars_per_device_hour: float | None) -> Estimate:
    """Return what a number of images takes."""
    row_seconds = _device_seconds_per_row(found)
    device_hours = _scaled(row_seconds, num_images / SECONDS_PER_HOUR)
    opening_hours = (found.opening_seconds + found.warming_seconds) / SECONDS_PER_HOUR
    hours = Interval(*(each / devices + opening_hours for each in _ends(device_hours)))
    rates = [devices / each if each > 0 else float("inf") for each in _ends(row_seconds)]
    paid = Interval(*(each + opening_hours * devices for each in _ends(device_hours)))
    return Estimate(
        num_images=num_images,
        devices=devices,
        images_per_second=Interval(rates[0], rates[2], rates[1]),
        device_hours=device_hours,
        hours=hours,
        sidecar_bytes=_scaled(found.sidecar_bytes_per_row, num_images),
        image_bytes=_scaled(found.image_bytes_per_row, num_images),
        dollars=None if dollars_per_device_hour is None else _scaled(paid, dollars_per_device_hour),
    )


def as_json(found: Calibration, of_job: Estimate, asked: Estimate) -> dict[str, Any]:
    """Return a plan as plain JSON types."""
    return finite_or_null({"calibration": asdict(found), "job": asdict(of_job), "asked": asdict(asked)})


def _device_seconds_per_row(found: Calibration) -> Interval:
    """Return one device's seconds a row: of captioning, or of reading where that takes longer."""
    each = _scaled(found.seconds_per_row, found.workers)
    return Interval(*(max(end, found.reading_seconds_per_row) for end in _ends(each)))


def _scaled(interval: Interval, factor: int | float) -> Interval:
    return Interval(*(max(0.0, end * factor) for end in _ends(interval)))


def _ends(interval: Interval) -> tuple[float, float, float]:
    return interval.value, interval.low, interval.high
