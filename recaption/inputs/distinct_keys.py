"""Keys that come twice: the first row keeps its key, later ones get one that is their own."""

from collections import Counter

REPEAT_MARK = "#"


class DistinctKeys:
    """Number the rows of a unit that share a key."""

    def __init__(self) -> None:
        self._seen: Counter[str] = Counter()

    def place(self, key: str) -> int:
        """Return which row of this key this is, from 0, and remember it."""
        self._seen[key] += 1
        return self._seen[key] - 1


def key_of_repeat(key: str, place: int) -> str:
    """Return the key of the row at a place among those of one key: the key itself, then `KEY#2`, `KEY#3`, ..."""
    return key if place == 0 else f"{key}{REPEAT_MARK}{place + 1}"


def repeat_message(key: str, place: int) -> str:
    """Say what is wrong with a row whose key came before."""
    return f"row {place + 1} of key {key}: which picture the key means can't be told, and the first was taken"
