"""Which loss an update may have."""

import math
from collections.abc import Mapping
from typing import Any

from runtime.loop_config import LoopConfig

_MEMORY = 0.95
"""Weight of what was usual before in what is usual after an update: about twenty updates."""


class LossGuard:
    """Judge losses by fixed limits and by what was usual in the updates before; part of the checkpoint."""

    def __init__(self, config: LoopConfig):
        self._limit, self._ratio = config.max_loss, config.max_loss_ratio
        self._usual: float | None = None

    @property
    def limit(self) -> float:
        """Return the largest loss that the next update may have."""
        limit = math.inf if self._limit is None else self._limit
        if self._ratio is None or self._usual is None:
            return limit
        return min(limit, self._ratio * self._usual)

    def allows(self, loss: float) -> bool:
        """Tell whether an update with this loss may be taken."""
        return math.isfinite(loss) and loss <= self.limit

    def learn(self, loss: float) -> None:
        """Take the loss of an update that was taken for usual."""
        self._usual = loss if self._usual is None else _MEMORY * self._usual + (1 - _MEMORY) * loss

    def state_dict(self) -> dict[str, Any]:
        """Return what was usual."""
        return {"usual": self._usual}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what was usual."""
        self._usual = state["usual"]
