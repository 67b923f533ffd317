"""Settle a row with its captions, or leave it to be asked again as the job's policy has it."""

from recaption.captioners.base import Caption
from recaption.engine.open_units import OpenRow
from recaption.quality.attempts import FIRST
from recaption.quality.policy import RepairPolicy


def book_captions(policy: RepairPolicy, row: OpenRow, captions: tuple[Caption, ...]) -> bool:
    """Note what a row was answered, and settle it unless it is to be asked again; return whether it is settled."""
    step = FIRST if row.again is None else row.again.step
    row.attempts.append(policy.assess(row.row, row.prompts, step, captions))
    again = policy.next_asking(row.prompts, row.attempts)
    if again is None:
        row.settle()
        return True
    row.again, row.prompts = again, again.prompts
    return False
