"""Learning-rate multipliers as pure functions of the step."""

import math
from collections.abc import Callable

Schedule = Callable[[int, int, int], float]
"""(step, num_updates, warmup_updates) -> multiplier in [0, 1]."""


def constant(step: int, num_updates: int, warmup_updates: int = 0) -> float:
    """Rise linearly over the warm-up, then stay at 1."""
    return _warmup(step, warmup_updates)


def cosine_with_warmup(step: int, num_updates: int, warmup_updates: int = 0) -> float:
    """Rise linearly over the warm-up, then fall along half a cosine, towards 0 after the last update (Loshchilov
    2017).
    """
    if step < warmup_updates:
        return _warmup(step, warmup_updates)
    progress = (step - warmup_updates) / max(1, num_updates - warmup_updates)
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))


SCHEDULES: dict[str, Schedule] = {"constant": constant, "cosine": cosine_with_warmup}
"""By the name a config uses."""


def _warmup(step: int, warmup_updates: int) -> float:
    return min(1.0, (step + 1) / warmup_updates) if warmup_updates else 1.0
