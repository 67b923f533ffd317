"""The verb `plan`: calibrate, estimate, keep it beside the job, print it."""

import json

from recaption.planning.calibration import calibrate
from recaption.planning.checking import PLAN
from recaption.planning.config import PlanConfig
from recaption.planning.estimate import as_json, estimate
from recaption.planning.page import calibration_lines, estimate_lines
from runtime.atomic import write_json


def plan(config: PlanConfig) -> None:
    """Say what a job will take."""
    found = calibrate(config)
    price = config.dollars_per_device_hour
    of_job = estimate(found, found.num_input_rows, found.workers, price)
    asked = estimate(found, config.num_images or found.num_input_rows, config.devices or found.workers, price)
    record = as_json(found, of_job, asked)
    write_json(config.job.output_dir / PLAN, record)
    if config.json:
        print(json.dumps(record, indent=2))
        return
    print("\n".join([*calibration_lines(found), *estimate_lines("this job, here", of_job)]))
    if asked != of_job:
        print("\n".join(estimate_lines("asked for", asked)))
    print(f"{config.job.output_dir / PLAN}: kept; run and status compare it with what the job takes")
