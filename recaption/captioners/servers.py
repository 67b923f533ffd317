"""Servers of one model that take turns; one that fails rests for a while, and longer when it fails again."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

FIRST_REST_SECONDS = 1.0
REST_SECONDS_MAX = 60.0
_DOUBLINGS_MAX = 16


@dataclass
class Server:
    """One server's address, and how it has been doing."""

    url: str
    num_failures: int = 0
    """Failures since it answered last."""
    rests_until: float = 0.0
    """Time, by the monotonic clock, before which others are asked rather than this one."""


class ServerRound:
    """Servers in a round, those that rest left out."""

    def __init__(self, urls: Sequence[str], now: Callable[[], float] = time.monotonic):
        self.servers = [Server(url.rstrip("/")) for url in urls]
        self._now = now
        self._place = -1

    def next(self) -> Server:
        """Return the next server that does not rest; where all do, the one whose rest ends first."""
        for _ in self.servers:
            self._place = (self._place + 1) % len(self.servers)
            if self.servers[self._place].rests_until <= self._now():
                return self.servers[self._place]
        return min(self.servers, key=lambda server: server.rests_until)

    def only_choice(self, server: Server) -> bool:
        """Tell whether all other servers rest."""
        return all(other is server or other.rests_until > self._now() for other in self.servers)

    def answered(self, server: Server) -> None:
        """Note that a server answered."""
        server.num_failures = 0
        server.rests_until = 0.0

    def failed(self, server: Server, wait_seconds: float | None = None) -> None:
        """Let a server rest: as long as it asked for, else twice as long as after its last failure."""
        # Thousands of rows may fail with a server that died, and no float holds two to the power of that.
        rest = min(REST_SECONDS_MAX, FIRST_REST_SECONDS * 2 ** min(server.num_failures, _DOUBLINGS_MAX))
        server.num_failures += 1
        server.rests_until = self._now() + (rest if wait_seconds is None else wait_seconds)
