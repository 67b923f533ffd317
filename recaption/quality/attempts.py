"""Everything a row was answered, and which of it is kept."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from imagetext.caption_flags.cleaning import clean_caption
from imagetext.caption_flags.finding import defects_among
from imagetext.caption_flags.names import CONDITION_DROPPED
from recaption.captioners.base import Caption

FIRST = "first"
"""Name of the asking that every row has; the others are named after `RepairConfig.steps`."""
UNCONDITIONED = "unconditioned"


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """The answers to one asking, one for each prompt of the job."""

    step: str
    captions: tuple[Caption, ...]
    flags: tuple[tuple[str, ...], ...]
    """What each caption raises."""


def choose(attempts: Sequence[Attempt], place: int) -> int:
    """Return which attempt's caption stands at a place: one of which something is left once it is cleaned, with the
    fewest defects, the earliest of equals."""
    return min(range(len(attempts)), key=lambda index: (*_badness(attempts[index], place), index))


def chosen_captions(attempts: Sequence[Attempt]) -> tuple[tuple[Caption, ...], tuple[tuple[str, ...], ...]]:
    """Return the captions that stand, and what each raises."""
    picked = [attempts[choose(attempts, place)] for place in range(len(attempts[0].captions))]
    captions = tuple(one.captions[place] for place, one in enumerate(picked))
    flags = tuple(
        (*one.flags[place], CONDITION_DROPPED) if one.step == UNCONDITIONED else one.flags[place]
        for place, one in enumerate(picked)
    )
    return captions, flags


def describe_attempts(attempts: Sequence[Attempt]) -> list[str]:
    """Return `STEP: flags` for each asking of a row that was asked again, `clean` for one without a defect."""
    return list(_lines(attempts)) if len(attempts) > 1 else []


def _lines(attempts: Sequence[Attempt]) -> Iterator[str]:
    for attempt in attempts:
        defects = dict.fromkeys(flag for flags in attempt.flags for flag in defects_among(flags))
        yield f"{attempt.step}: {', '.join(defects) or 'clean'}"


def _badness(attempt: Attempt, place: int) -> tuple[bool, int]:
    flags = attempt.flags[place]
    return clean_caption(attempt.captions[place].text, flags) is None, len(defects_among(flags))
