"""Join one's own rows with published ones on the recorded sha256, many to many, every case counted."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from imagetext.sidecar_schema import OWN_COLUMNS, RECAPTION_COLUMN
from recaption.exchange.matched_rows import FILE, NUM_ALIKE, ROW
from recaption.exchange.published_files import ORIGINAL_CAPTION, is_number
from recaption.inputs.units import SUCCESS, InputRow

if TYPE_CHECKING:
    import pyarrow

NOT_PUBLISHED = "not_published"
"""Status of a row whose picture no published caption is about."""
CAPTIONER_ID = "Recap-DataComp-1B"
_PUBLISHED_PREFIX = "published_"
"""Beginning of the own columns that say which published row a caption is of."""
_SCORES = ("re_clip_score", "org_clip_score")

Row = Mapping[str, Any]


class PublishedCaptions:
    """The published rows that belong to one group of own shards, found by digest."""

    def __init__(self, table: "pyarrow.Table", captions: Sequence[str]):
        """Take the matched rows and the names of all caption columns, whether or not one is among these rows."""
        self._captions = captions
        self._columns = {name: table.column(name).to_pylist() for name in table.schema.names}
        self._numbers = [name for name in self._columns if is_number(name)]
        self._places: dict[str, list[int]] = {}
        order = sorted(range(len(table)), key=lambda i: (self._columns[FILE][i], self._columns[ROW][i]))
        for place in order:
            self._places.setdefault(str(self._columns["sha256"][place]).lower(), []).append(place)

    def join(self, rows: Iterable[InputRow], counts: Counter[str]) -> list[dict[str, object]]:
        """Return one's own rows as sidecar rows, each with the captions of its picture, and count what became of them.

        Of several published rows with one's digest that of the same url goes first, then the first in the files; a
        caption that one of them does not have is taken from the next.
        """
        return [self._joined(row, counts) for row in rows]

    def _joined(self, row: InputRow, counts: Counter[str]) -> dict[str, object]:
        counts["rows"] += 1
        places = [] if row.sha256 is None else self._places.get(row.sha256.lower(), [])
        if row.status != SUCCESS or not places:
            return self._without(row, counts)
        counts["matched"] += 1
        counts["matched_by_several"] += self._num_alike(places) > 1
        best = sorted(places, key=lambda place: self._value("url", place) != row.url)
        counts["matched_with_the_same_url"] += self._value("url", best[0]) == row.url
        found = {name: self._first(name, best) for name in self._captions}
        if all(place is None for place in found.values()):
            return self._failure(row, NOT_PUBLISHED, "the published row of this sha256 has no caption")
        main = next(place for place in (found.get(RECAPTION_COLUMN), *found.values()) if place is not None)
        captions = {name: None if place is None else self._value(name, place) for name, place in found.items()}
        original = row.caption if row.caption is not None else self._value(ORIGINAL_CAPTION, main)
        scores = {name: self._value(name, main) for name in _SCORES}
        own = {**row.columns, **self._provenance(main), **{name: self._number(name, best) for name in self._numbers}}
        return {**_identity(row), ORIGINAL_CAPTION: original, **captions, **scores, "flags": [], OWN_COLUMNS: own}

    def _without(self, row: InputRow, counts: Counter[str]) -> dict[str, object]:
        if row.status != SUCCESS:
            counts["failed_before"] += 1
            return self._failure(row, row.status, row.error_message or row.status)
        counts["without_sha256" if row.sha256 is None else "unmatched"] += 1
        what = "no sha256 is recorded" if row.sha256 is None else "no published row has this sha256"
        return self._failure(row, NOT_PUBLISHED, what)

    def _failure(self, row: InputRow, status: str, message: str) -> dict[str, object]:
        captions = dict.fromkeys(self._captions)
        return {
            **_identity(row),
            **captions,
            "status": status,
            "error_message": message,
            "flags": [],
            OWN_COLUMNS: row.columns,
        }

    def _num_alike(self, places: Sequence[int]) -> int:
        """Return how many published rows are of one picture, of those that hold one kind of caption."""
        counted: Counter[str] = Counter()
        for place in places:
            for name in self._captions:
                counted[name] += self._columns[NUM_ALIKE][place] if self._value(name, place) is not None else 0
        return max(counted.values())

    def _first(self, name: str, places: Sequence[int]) -> int | None:
        return next((place for place in places if (self._value(name, place) or "").strip()), None)

    def _number(self, name: str, places: Sequence[int]) -> object:
        return next((value for place in places if (value := self._value(name, place)) is not None), None)

    def _provenance(self, place: int) -> dict[str, object]:
        return {f"{_PUBLISHED_PREFIX}{name}": self._value(name, place) for name in ("key", "url")}

    def _value(self, name: str, place: int) -> Any:
        column = self._columns.get(name)
        return None if column is None else column[place]


def own_types(numbers: Mapping[str, "pyarrow.DataType"]) -> "dict[str, pyarrow.DataType]":
    """Return the types of the columns that are added to one's own."""
    import pyarrow

    texts = {f"{_PUBLISHED_PREFIX}{name}": pyarrow.string() for name in ("key", "url")}
    return {**texts, **numbers}


def _identity(row: InputRow) -> dict[str, object]:
    identity = {"key": row.key, "uid": row.uid, "url": row.url, "sha256": row.sha256, ORIGINAL_CAPTION: row.caption}
    return {**identity, "attempts": 0, "captioner_id": CAPTIONER_ID}
