"""How well the old and the new caption of a picture fit it, by one model's cosines, under names of their own.

The paper's "score" is not defined; its two values add up to 100, so it is some share of a two-way choice. Ours are
three, each under its name, and none of them stands in a column with the paper's.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from runtime.intervals import Interval, mean_interval, share_of_items


@dataclass(frozen=True, kw_only=True)
class PairScores:
    """Scores of pairs of captions, each pair about one picture."""

    num_pairs: int
    old_cosine: Interval
    """Mean cosine of picture and old caption."""
    new_cosine: Interval
    new_win_share: Interval
    """Share of pairs in which the new caption's cosine is the larger; a tie counts half."""
    new_softmax_share: Interval
    """Mean of exp(s * new) / (exp(s * old) + exp(s * new)) at the scale s."""
    scale: float
    """The model's own factor between a cosine and a logit."""
    old_truncated_share: float | None = None
    """Share of old captions that lose words to the model's context; None where that is not known."""
    new_truncated_share: float | None = None


def score_pairs(
    old: Float[np.ndarray, " pairs"], new: Float[np.ndarray, " pairs"], scale: float, **truncated: float
) -> PairScores:
    """Return what the cosines of two or more pairs come to."""
    wins = np.where(new > old, 1.0, np.where(new == old, 0.5, 0.0))
    shares = 1.0 / (1.0 + np.exp(-scale * (new - old)))
    return PairScores(
        num_pairs=len(old),
        old_cosine=mean_interval(old),
        new_cosine=mean_interval(new),
        new_win_share=share_of_items(wins, np.ones(len(wins))),
        new_softmax_share=share_of_items(shares, np.ones(len(shares))),
        scale=scale,
        **truncated,
    )
