"""Pictures that rows name by path or URL, fetched a little ahead, failures told and never raised."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias, TypeVar

from imagetext import files
from runtime.errors import UserError

Row = TypeVar("Row")

_FETCHES_AT_ONCE = 16
"""Pictures on their way at once: what waits is the network."""

Fetched: TypeAlias = bytes | Exception
"""A picture's bytes, or why there are none."""


def resolve_place(place: str, folder: str) -> str:
    """Return where a picture lies that a row names: a URL and an absolute path as they are, else below the folder."""
    return place if files.is_url(place) or Path(place).is_absolute() else files.join(folder, place)


def fetch(place: str) -> Fetched:
    """Return the bytes at a path or URL, or why there are none."""
    try:
        return files.read_bytes(place)
    except Exception as error:  # noqa: BLE001 - file systems raise what their servers' clients raise: one bad row
        return error


def fetch_ahead(rows: Iterable[tuple[Row, bytes | str | None]]) -> Iterator[tuple[Row, Fetched | None]]:
    """Yield rows in their order with their pictures; a text is the place of one, fetched in a thread meanwhile."""
    waiting: deque[tuple[Row, Future[Fetched] | bytes | None]] = deque()
    with ThreadPoolExecutor(_FETCHES_AT_ONCE) as pool:
        for row, picture in rows:
            waiting.append((row, pool.submit(fetch, picture) if isinstance(picture, str) else picture))
            while len(waiting) >= _FETCHES_AT_ONCE:
                yield _arrived(*waiting.popleft())
        while waiting:
            yield _arrived(*waiting.popleft())


def folder_of(location: str) -> str:
    """Return the folder or URL that holds a file."""
    return location.rpartition("/")[0] if files.is_url(location) else str(Path(location).parent)


def reason(error: Exception) -> str:
    """Say in a line why a picture could not be fetched."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f"{type(error).__name__}: {text}" if not isinstance(error, UserError) else str(error)


def _arrived(row: Row, picture: Future[Fetched] | bytes | None) -> tuple[Row, Fetched | None]:
    return row, picture.result() if isinstance(picture, Future) else picture
