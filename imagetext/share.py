"""The share of originals that holds for a sample: by its place in the run, its data set, the scores of its captions."""

import math
from bisect import bisect_right

from imagetext.mix_config import CaptionMixConfig, ScoreShareConfig
from imagetext.samples import CaptionScores
from runtime.errors import UserError


class OriginalShare:
    """Answer by global sample position, which no rank, worker or restart changes."""

    def __init__(self, config: CaptionMixConfig, batch_size: int | None = None):
        """`batch_size` counts the samples of an update; raise UserError where a schedule over updates has none."""
        self._config = config
        self._samples_per_place = 1
        if config.share_changes_unit == "updates":
            if batch_size is None:
                fix = "Count its places in samples, or train with clip_train"
                found = config.share_changes
                raise UserError("updates are not known here", where="share_changes_unit", found=found, fix=fix)
            self._samples_per_place = batch_size
        changes = sorted(config.share_changes.items())
        self._places = [place for place, _ in changes]
        self._shares = [config.original_share, *(share for _, share in changes)]

    def at(self, position: int) -> float:
        """Return the share that is scheduled for a global sample position."""
        place = position // self._samples_per_place
        index = bisect_right(self._places, place)
        if self._config.share_course == "stepped" or index == len(self._places):
            return self._shares[index]
        start = self._places[index - 1] if index else 0
        way = (place - start) / (self._places[index] - start)
        return (1.0 - way) * self._shares[index] + way * self._shares[index + 1]

    def of(self, qualified_key: str, position: int, scores: CaptionScores | None = None) -> float:
        """Return a sample's share: by its scores where there are any, else its data set's, else the scheduled one."""
        if scores is not None and self._config.score_share is not None:
            return share_of_scores(self._config.score_share, scores)
        own = [share for name, share in self._config.dataset_shares.items() if qualified_key.startswith(f"{name}/")]
        return own[0] if own else self.at(position)


def share_of_scores(config: ScoreShareConfig, scores: CaptionScores) -> float:
    """Return the share of the original by how much better it fits than the recaption."""
    advantage = (scores.original - scores.recaption - config.even_difference) / config.temperature
    # tanh, since exp overflows.
    preferred = (1.0 + math.tanh(advantage / 2.0)) / 2.0
    return config.lowest_share + (config.highest_share - config.lowest_share) * preferred
