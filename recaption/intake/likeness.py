"""Pictures seen so far, and which of them one looks like."""

from collections.abc import Iterator
from itertools import islice

from recaption.intake.signatures import Signature

COMPARED_MAX = 64
"""Pictures of one band that a picture is compared with: blank pictures all share theirs."""


class SeenPictures:
    """Pictures by their signatures, the first of each look; about a kilobyte a picture."""

    def __init__(self, near_bits: int):
        self._near_bits = near_bits
        self._names: list[str] = []
        self._signatures: list[Signature] = []
        self._by_band: dict[bytes, list[int]] = {}

    def find(self, signature: Signature) -> tuple[str, int] | None:
        """Return the nearest picture that looks the same, the earlier of equals, and in how many bits it differs."""
        found = [
            (signature.distance_bits(self._signatures[place]), place)
            for place in set(self._candidates(signature))
            if signature.looks_like(self._signatures[place], self._near_bits)
        ]
        if not found:
            return None
        distance, place = min(found)
        return self._names[place], distance

    def add(self, name: str, signature: Signature) -> None:
        """Remember a picture."""
        place = len(self._names)
        self._names.append(name)
        self._signatures.append(signature)
        for band in signature.bands:
            self._by_band.setdefault(band, []).append(place)

    def _candidates(self, signature: Signature) -> Iterator[int]:
        for band in signature.bands:
            yield from islice(self._by_band.get(band, ()), COMPARED_MAX)
