"""Captions that give back what the captioner was told: asked for once more, without the row's own caption."""

from recaption.captioners.base import Caption
from recaption.config import RecaptionConfig
from recaption.engine.open_units import OpenRow
from recaption.leaks import CONDITION_DROPPED
from recaption.prompts import leaks_in, prompts_without_condition

Flags = tuple[tuple[str, ...], ...]


def book_captions(config: RecaptionConfig, row: OpenRow, captions: tuple[Caption, ...]) -> bool:
    """Settle a row with its captions, unless a caption repeats the alt-text or request that it was conditioned on.

    Such a row is left to be asked once more, all its prompts without condition; of the second answers, only those in
    the places of repeating ones are taken, whatever they are. Returns whether the row is settled.
    """
    texts = [caption.text for caption in captions]
    if row.first_captions is not None:
        _settle_second(row, row.first_captions, captions, leaks_in(config, row.row, texts, conditioned=False))
        return True
    flags = leaks_in(config, row.row, texts)
    unconditioned = prompts_without_condition(config)
    row.leaking = tuple(
        bool(raised) and asked != other for raised, asked, other in zip(flags, row.prompts, unconditioned, strict=True)
    )
    row.leaks = _together(flags)
    if any(row.leaking):
        row.first_captions, row.prompts = captions, unconditioned
        return False
    row.succeed(captions)
    return True


def _settle_second(row: OpenRow, first: tuple[Caption, ...], second: tuple[Caption, ...], flags: Flags) -> None:
    """Put second captions in the places of leaking first ones."""
    # What first captions elsewhere raise is found again in the second ones: they were asked the same.
    row.leaks = (*_together(flags), CONDITION_DROPPED)
    row.first_captions = None
    chosen = zip(first, second, row.leaking, strict=True)
    row.succeed(tuple(another if leaks else one for one, another, leaks in chosen))


def _together(flags: Flags) -> tuple[str, ...]:
    return tuple(dict.fromkeys(flag for raised in flags for flag in raised))
