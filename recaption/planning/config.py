"""What `python -m recaption plan` is told."""

from dataclasses import dataclass

from recaption.config import RecaptionConfig
from runtime.errors import UserError


@dataclass(frozen=True, kw_only=True)
class PlanConfig:
    """Caption a few rows of a job as `run` would, and say what all of it, or any number of images, will take."""

    job: RecaptionConfig
    """The job, as `run` is told it; its flags may be given without `job.`. What is found stays in job/plan of its
    output_dir, for `run` and `status` to compare."""
    num_images: int | None = None
    """Images to plan for; left out, the rows of the job's own input."""
    devices: int | None = None
    """Devices like the ones here to plan for, one for each worker; left out, the job's workers."""
    dollars_per_device_hour: float | None = None
    """Price of one device for an hour; left out, no cost is told."""
    calibration_rows: int | None = None
    """Rows to caption; left out, 512, or eight times what the captioner has under way at once if that is more."""
    json: bool = False
    """Print one JSON object instead of lines."""

    def __post_init__(self) -> None:
        for name in ("num_images", "devices", "calibration_rows"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError("out of range", where=name, found=value, wanted=">= 1")
        if self.dollars_per_device_hour is not None and self.dollars_per_device_hour < 0:
            raise UserError("out of range", where="dollars_per_device_hour", found=self.dollars_per_device_hour)
        if self.job.executor != "local":
            fix = "Plan with --executor local on one node, and give the cluster's --devices"
            raise UserError("plans are made on one machine", where="job.executor", found=self.job.executor, fix=fix)
