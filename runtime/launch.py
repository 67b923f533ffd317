"""This process's place among the processes that `torchrun` or `accelerate launch` started."""

import os
import time
from collections.abc import Callable
from pathlib import Path

from runtime.errors import UserError

PATIENCE_SECONDS = 3600.0
"""How long processes wait for what the main one makes: minutes for a tokenizer from a million captions."""
_PAUSE_SECONDS = 0.1


def rank() -> int:
    """Return the number of this process, 0 when there is only one."""
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """Return how many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_launched() -> bool:
    """Tell whether a launcher started this process, alone or among others."""
    return "RANK" in os.environ


def is_main_process() -> bool:
    """Tell whether this process writes the files that all processes share."""
    return rank() == 0


def have_made_once(path: Path, make: Callable[[], object]) -> None:
    """Return when `path` is there: the main process makes it where it is not, the others wait for it.

    `make` leaves it whole or not at all. Raises UserError when it does not come within an hour.
    """
    if is_main_process() and not path.exists():
        make()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not path.exists():
        if time.monotonic() >= deadline:
            found = f"none after {PATIENCE_SECONDS:.0f} seconds"
            fix = "Give all processes an output_dir that all of them see"
            raise UserError("the main process has not made this", where=path, found=found, fix=fix)
        time.sleep(_PAUSE_SECONDS)
