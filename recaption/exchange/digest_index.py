"""Which groups of one's own shards hold a picture, looked up by the sha256 that was recorded when it was downloaded.

Digests are compared by their first 64 bits here, so that an index is arrays of numbers; whoever joins rows compares
them whole.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int64, UInt64

if TYPE_CHECKING:
    import pyarrow

_DIGEST_CHARACTERS = 64
_PREFIX_CHARACTERS = 16
_NO_DIGIT = 255
_MIXER = np.uint64(0x9E3779B97F4A7C15)
"""Odd, so that multiplying by it loses no bit (the golden ratio's fraction)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Pairs:
    """Rows of a table that belong to groups of shards, sorted by group, then row."""

    rows: Int64[np.ndarray, " pairs"]
    groups: Int64[np.ndarray, " pairs"]
    same_url: Int64[np.ndarray, " pairs"]
    """1 where a row of the group has the url too."""
    num_alike: Int64[np.ndarray, " pairs"]
    """Rows of the table with this digest, told with the first of them, else 0."""
    num_matched: int
    """Rows of the table whose digest is known at all."""


class DigestIndex:
    """Groups by digest, and by digest and url."""

    def __init__(self, tables: "Iterable[tuple[int, pyarrow.Table]]"):
        """Take one's own rows, tables of sha256 and url, each with the number of its group; one is held at a time."""
        parts = [(group, *_numbers(table)[:2]) for group, table in tables]
        groups = np.concatenate([np.full(len(digests), group, np.int64) for group, digests, _ in parts])
        digests = np.concatenate([digests for _, digests, _ in parts])
        pairs = np.concatenate([_with_url(digests, urls) for _, digests, urls in parts])
        del parts
        self.num_rows = len(digests)
        self._by_digest = _Groups(digests, groups)
        self._by_pair = _Groups(pairs, groups)

    def match(self, table: "pyarrow.Table") -> Pairs:
        """Return which rows of a table of sha256 and url belong to which groups.

        Of rows with one digest the first comes with every group that holds it, and each other with those groups alone
        that hold its url too: a picture that is there a thousand times on both sides makes no million pairs.
        """
        digests, urls, places = _numbers(table)
        known = self._by_digest.holds(digests)
        digests, urls, places = digests[known], urls[known], places[known]
        unique, first, counts = np.unique(digests, return_index=True, return_counts=True)
        of_firsts, first_groups = self._by_digest.find(unique)
        of_urls, url_groups = self._by_pair.find(_with_url(digests, urls))
        rows = np.concatenate([first[of_firsts], of_urls])
        groups = np.concatenate([first_groups, url_groups])
        same_url = np.concatenate([np.zeros(len(of_firsts), np.int64), np.ones(len(of_urls), np.int64)])
        alike = np.concatenate([counts[of_firsts], np.zeros(len(of_urls), np.int64)])
        return _merged(places[rows], groups, same_url, alike, num_matched=len(digests))


class _Groups:
    """The groups of each number, as sorted pairs."""

    def __init__(self, numbers: UInt64[np.ndarray, " rows"], groups: Int64[np.ndarray, " rows"]):
        order = np.lexsort((groups, numbers))
        numbers, groups = numbers[order], groups[order]
        if len(numbers):
            new = np.concatenate([[True], (numbers[1:] != numbers[:-1]) | (groups[1:] != groups[:-1])])
            numbers, groups = numbers[new], groups[new]
        self._numbers, self._groups = numbers, groups

    def holds(self, numbers: UInt64[np.ndarray, " rows"]) -> Any:
        """Return for each number whether any group has it."""
        left = np.searchsorted(self._numbers, numbers)
        return np.searchsorted(self._numbers, numbers, side="right") > left

    def find(self, numbers: UInt64[np.ndarray, " rows"]) -> tuple[Any, Any]:
        """Return pairs: the place of a number among those asked for, and a group that has it."""
        left = np.searchsorted(self._numbers, numbers)
        counts = np.searchsorted(self._numbers, numbers, side="right") - left
        asked = np.repeat(np.arange(len(numbers)), counts)
        within = np.arange(len(asked)) - np.repeat(np.cumsum(counts) - counts, counts)
        return asked, self._groups[left[asked] + within]


def _merged(rows: Any, groups: Any, same_url: Any, alike: Any, *, num_matched: int) -> Pairs:
    """Return pairs with each row and group once."""
    order = np.lexsort((rows, groups))
    rows, groups, same_url, alike = rows[order], groups[order], same_url[order], alike[order]
    if len(rows):
        starts = np.flatnonzero(np.concatenate([[True], (rows[1:] != rows[:-1]) | (groups[1:] != groups[:-1])]))
        rows, groups = rows[starts], groups[starts]
        same_url, alike = np.maximum.reduceat(same_url, starts), np.maximum.reduceat(alike, starts)
    return Pairs(rows=rows, groups=groups, same_url=same_url, num_alike=alike, num_matched=num_matched)


def _numbers(table: "pyarrow.Table") -> tuple[Any, Any, Any]:
    """Return digests and urls as numbers, and the rows they are of: those that record a digest of 64 hex digits."""
    import pandas
    import pyarrow.compute

    texts = table.column("sha256").cast("large_string").combine_chunks()
    whole = pyarrow.compute.equal(pyarrow.compute.binary_length(texts), _DIGEST_CHARACTERS).fill_null(False)
    places = np.flatnonzero(whole.to_numpy(zero_copy_only=False))
    chosen = texts.take(places)
    characters = np.frombuffer(b"".join(text.encode() for text in chosen.to_pylist()), np.uint8)
    digits = _digit_values()[characters.reshape(len(places), -1)[:, :_PREFIX_CHARACTERS]] if len(places) else None
    if digits is None:
        return np.zeros(0, np.uint64), np.zeros(0, np.uint64), places
    valid = (digits != _NO_DIGIT).all(axis=1)
    powers = np.uint64(16) ** np.arange(_PREFIX_CHARACTERS, dtype=np.uint64)[::-1]
    digests = (digits[valid].astype(np.uint64) * powers).sum(axis=1, dtype=np.uint64)
    urls = np.array(table.column("url").take(places[valid]).to_pylist(), dtype=object)
    hashed = pandas.util.hash_array(np.array([url or "" for url in urls], dtype=object), categorize=False)
    return digests, hashed.astype(np.uint64), places[valid]


def _with_url(digests: UInt64[np.ndarray, " rows"], urls: UInt64[np.ndarray, " rows"]) -> UInt64[np.ndarray, " rows"]:
    return digests ^ (urls * _MIXER)


def _digit_values() -> Any:
    values = np.full(256, _NO_DIGIT, np.uint8)
    for digits in ("0123456789abcdef", "0123456789ABCDEF"):
        values[np.frombuffer(digits.encode(), np.uint8)] = np.arange(16)
    return values
