"""Decide what becomes of each row: captioned, the same picture as another, not wanted, flagged."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recaption.inputs.folder_units import list_folder_units
from recaption.inputs.shard_units import list_shard_units
from recaption.inputs.units import SUCCESS, Unit
from recaption.intake.likeness import SeenPictures
from recaption.intake.looking import signature_of
from recaption.intake.signatures import Signature
from recaption.intake.unwanted import Unwanted

DUPLICATE_PICTURE = "duplicate"
"""Status of a row whose picture another row has, too: it gets that row's captions when the run is done."""
BLOCKED = "blocked"
"""Status of a row that is on a list of what is not wanted."""
NEAR_EVALUATION = "near_evaluation_image"
_FILES_PER_UNIT = 256


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What becomes of one row."""

    key: str
    duplicate_of: str | None = None
    """UNIT/KEY of the row that is captioned in its stead."""
    duplicate_by: str | None = None
    """sha256 or look."""
    blocked_by: str | None = None
    """Name of the list."""
    evaluation_image: str | None = None
    evaluation_bits: int | None = None
    """In how many bits of 256 the outlines of the row's picture and that evaluation image differ."""
    flags: tuple[str, ...] = ()


class Judgement:
    """Decide row by row, in the input's order."""

    def __init__(self, *, near_bits: int, evaluation: SeenPictures | None, unwanted: Unwanted):
        self._evaluation, self._unwanted = evaluation, unwanted
        self._by_sha256: dict[bytes, str] = {}
        self._seen = SeenPictures(near_bits)
        self.counts: Counter[str] = Counter()

    def decide(self, unit: str, row: Mapping[str, Any]) -> Verdict:
        """Return what becomes of a row, by what it looks like (`recaption.intake.looking`)."""
        seen = None if row["bits"] is None else Signature(row["bits"], row["colours"])
        near = None if seen is None or self._evaluation is None else self._evaluation.find(seen)
        flags = (*row["flags"], *((NEAR_EVALUATION,) if near is not None else ()))
        blocked = self._unwanted.listed_in(row["sha256"], row["url"])
        wanted = blocked is None and row["status"] == SUCCESS
        of, by = self._original(f"{unit}/{row['key']}", row, seen) if wanted else (None, None)
        verdict = Verdict(
            key=row["key"],
            duplicate_of=of,
            duplicate_by=by,
            blocked_by=blocked,
            evaluation_image=None if near is None else near[0],
            evaluation_bits=None if near is None else near[1],
            flags=flags,
        )
        self._count(verdict)
        return verdict

    def _original(
        self, name: str, row: Mapping[str, Any], seen: Signature | None
    ) -> tuple[str, str] | tuple[None, None]:
        """Return the first row with this picture and what tells so; remember a picture that is new."""
        digest = bytes.fromhex(row["sha256"]) if _is_digest(row["sha256"]) else None
        found = None if digest is None else self._by_sha256.get(digest)
        if found is not None:
            return found, "sha256"
        alike = None if seen is None else self._seen.find(seen)
        if digest is not None:
            self._by_sha256[digest] = name if alike is None else alike[0]
        if alike is not None:
            return alike[0], "look"
        if seen is not None:
            self._seen.add(name, seen)
        return None, None

    def _count(self, verdict: Verdict) -> None:
        self.counts["rows"] += 1
        self.counts["duplicates_by_sha256"] += verdict.duplicate_by == "sha256"
        self.counts["duplicates_by_look"] += verdict.duplicate_by == "look"
        self.counts["blocked"] += verdict.blocked_by is not None
        for flag in verdict.flags:
            self.counts[f"flagged_{flag}"] += 1


def read_evaluation(places: Sequence[str], near_bits: int) -> SeenPictures | None:
    """Return the pictures of evaluation sets; None without any. Raises UserError for a place without pictures."""
    if not places:
        return None
    seen = SeenPictures(near_bits)
    for place in places:
        for unit in _evaluation_units(place):
            for row in unit.rows():
                found = signature_of(row.image)
                if found is not None:
                    seen.add(f"{place}/{row.key}", found)
    return seen


def _evaluation_units(place: str) -> Iterator[Unit]:
    folder = Path(place)
    if folder.is_dir() and any(folder.glob("*.tar")):
        yield from list_shard_units(place)
    else:
        yield from list_folder_units(folder, _FILES_PER_UNIT)


def _is_digest(text: str | None) -> bool:
    return text is not None and len(text) == 64 and all(letter in "0123456789abcdefABCDEF" for letter in text)
