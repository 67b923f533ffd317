"""This process's place among the processes that `torchrun` or `accelerate launch` started."""

import os


def rank() -> int:
    """Return the number of this process, 0 when there is only one."""
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """Return how many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main_process() -> bool:
    """Tell whether this process writes the files that all processes share."""
    return rank() == 0
