"""Metrics of a training run: averaged over a window of updates, written as JSON lines."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from runtime.atomic import write_text
from runtime.intervals import share_interval

SHARE = "share/"
"""Begins the names of sums that count those of a kind among all."""


class Window:
    """Sums since the last line of metrics; part of the checkpoint, so that a resumed run writes the same lines."""

    def __init__(self) -> None:
        self.refused_updates = 0
        """Updates of the whole run that were not taken."""
        self._open()

    def _open(self) -> None:
        self._sums: dict[str, float] = {}
        self._shares: dict[str, tuple[float, float]] = {}
        self._count = 0
        self._grad_norms = 0.0
        self._updates = 0

    def add(
        self,
        sums: Mapping[str, float],
        count: int,
        grad_norm: float,
        shares: Mapping[str, tuple[float, float]] | None = None,
    ) -> None:
        """Add one update's sums over all ranks; those in `shares` come with counts of their own."""
        for name, (value, number) in (shares or {}).items():
            before = self._shares.get(name, (0.0, 0.0))
            self._shares[name] = before[0] + value, before[1] + number
        for name, value in sums.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._count += count
        self._grad_norms += grad_norm
        self._updates += 1

    def close(self) -> dict[str, int | float]:
        """Return the averages (sums over counts, and the mean gradient norm) and start afresh.

        Of updates that were taken; without any there are no averages.
        """
        refused = {"refused_updates": self.refused_updates} if self.refused_updates else {}
        if not self._updates:
            return {**refused}
        averages: dict[str, int | float] = {name: value / self._count for name, value in self._sums.items()}
        averages |= {name: value / number for name, (value, number) in self._shares.items() if number}
        averages |= self._intervals()
        averages["grad_norm"] = self._grad_norms / self._updates
        self._open()
        return averages | refused

    def _intervals(self) -> dict[str, float]:
        """Return the bounds within which the shares lie that the window's samples were drawn by."""
        bounds: dict[str, float] = {}
        for name, (value, number) in self._shares.items():
            if name.startswith(SHARE) and number:
                interval, kind = share_interval(round(value), round(number)), name.removeprefix(SHARE)
                bounds |= {f"share_low/{kind}": interval.low, f"share_high/{kind}": interval.high}
        return bounds

    def state_dict(self) -> dict[str, Any]:
        """Return the open window as plain types."""
        return {
            "sums": dict(self._sums),
            "shares": dict(self._shares),
            "count": self._count,
            "grad_norms": self._grad_norms,
            "updates": self._updates,
            "refused_updates": self.refused_updates,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Reopen a saved window."""
        self._sums, self._count = dict(state["sums"]), state["count"]
        self._shares = dict(state.get("shares", {}))
        self._grad_norms, self._updates = state["grad_norms"], state["updates"]
        self.refused_updates = state.get("refused_updates", 0)


class JsonLines:
    """An append-only file of JSON objects, each with its update number."""

    def __init__(self, path: Path):
        self.path = path

    def append(self, row: Mapping[str, Any]) -> None:
        """Add one line."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the whole lines; a last line that a killed process left half-written is not one."""
        if not self.path.exists():
            return
        for line in self.path.read_text().splitlines(keepends=True):
            if line.endswith("\n"):
                yield json.loads(line)

    def truncate(self, update: int) -> None:
        """Drop what was written after an update, to continue from there."""
        if self.path.exists():
            kept = [row for row in self.rows() if row["update"] <= update]
            write_text(self.path, "".join(json.dumps(row) + "\n" for row in kept))
