"""How many of a phase's conversations may be bad before it is the data that is."""

BUDGET_FLOOR_SAMPLES = 1000
"""Conversations against which the budget for bad samples is counted at least, as where images are paired with captions:
one bad picture is no reason to stop.
"""


def allowed_bad(max_bad_share: float, num_samples: int) -> float:
    """Return how many of so many samples may be bad."""
    return max_bad_share * max(num_samples, BUDGET_FLOOR_SAMPLES)


def allowed_bad_of_part(max_bad_share: float, num_samples: int) -> float:
    """Return how many may be bad of a part of the samples drawn at random.

    Chance alone may take three standard deviations more than the share of all.
    """
    expected = allowed_bad(max_bad_share, num_samples)
    return expected + 3 * expected**0.5
